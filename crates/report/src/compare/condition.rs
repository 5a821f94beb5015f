//! Conditions on a comparison: `response.p99>+10%` fails if the 99th percentile has grown by more
//! than 10 %.
//!
//! ```text
//! condition = metric operator sign amount
//! operator  = ">" | ">=" | "<" | "<="
//! amount    = number "%" | an amount in the metric's own unit, such as 5ms, 2k or 64B
//! ```

use crate::section::metric::{Metric, UnknownMetric};
use crate::section::verdict::Operator;
use measure::units::UnitError;
use std::str::FromStr;

/// Why an expression is not a condition.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// It has not the form.
    #[error(
        "'{0}' is no condition on a difference: write METRIC OP SIGN AMOUNT with one of > >= < \
         <=, like 'response.p99>+10%', 'messages.rate_achieved<-5%' or 'connections.failed>+0'"
    )]
    NoForm(String),
    /// There is no such metric.
    #[error(transparent)]
    UnknownMetric(#[from] UnknownMetric),
    /// The amount is neither a percentage nor one of the metric's unit.
    #[error("in '{0}': {1}; or write a percentage, like 10%")]
    BadAmount(String, UnitError),
    /// The percentage is not a number.
    #[error("in '{0}': '{1}' is no percentage")]
    BadPercentage(String, String),
}

/// A difference: as a share of the base, or in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Share(f64),
    Absolute(f64),
}

/// A condition under which a comparison fails.
#[derive(Clone, Debug)]
pub struct Condition {
    expression: String,
    pub(super) metric: Metric,
    operator: Operator,
    amount: Amount,
}

impl FromStr for Condition {
    type Err = ConditionError;

    /// Reads `response.p99>+10%`, with or without spaces.
    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let expression = text.trim().to_owned();
        let no_form = || ConditionError::NoForm(expression.clone());
        let is_operator = |c: char| "<>=!".contains(c);
        let (name, rest) = text.split_at(text.find(is_operator).ok_or_else(no_form)?);
        let (operator, amount) =
            rest.split_at(rest.find(|c| !is_operator(c)).unwrap_or(rest.len()));
        let operator = Operator::parse(operator).filter(|o| o.is_an_order()).ok_or_else(no_form)?;
        let metric = Metric::parse(name.trim())?;
        let amount = amount.trim();
        let sign = match amount.chars().next() {
            Some('+') => 1.0,
            Some('-') => -1.0,
            _ => return Err(no_form()),
        };
        let amount = amount[1..].trim();
        let amount = match amount.strip_suffix('%') {
            Some(percent) => Amount::Share(sign * percentage(&expression, percent)? / 100.0),
            None => {
                let value = metric.unit().parse(amount);
                let value = value.map_err(|e| ConditionError::BadAmount(expression.clone(), e))?;
                Amount::Absolute(sign * value)
            }
        };
        Ok(Self { expression, metric, operator, amount })
    }
}

fn percentage(expression: &str, text: &str) -> Result<f64, ConditionError> {
    let value = text.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| ConditionError::BadPercentage(expression.to_owned(), text.to_owned()))
}

impl Condition {
    /// The expression as given.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether the difference from `base` to `new` is one that fails.
    #[must_use]
    pub fn holds(&self, base: f64, new: f64) -> bool {
        match self.amount {
            // Of nothing there is no share: any growth is more than any percentage of it.
            Amount::Share(share) => self.operator.holds(new, base * (1.0 + share)),
            Amount::Absolute(amount) => self.operator.holds(new - base, amount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn condition(text: &str) -> Condition {
        text.parse().expect(text)
    }

    #[test]
    fn a_condition_holds_if_the_difference_is_the_one_named() {
        for (text, base, new, holds) in [
            ("response.p99>+10%", 100.0, 111.0, true),
            (" response.p99 > +10 % ", 100.0, 109.0, false),
            ("response.p99>=+0%", 100.0, 100.0, true),
            ("messages.rate_achieved<-5%", 1_000.0, 940.0, true),
            ("messages.rate_achieved<-5%", 1_000.0, 960.0, false),
            ("connections.failed>+0", 0.0, 1.0, true),
            ("connections.failed>+10%", 0.0, 1.0, true),
            ("connections.failed>+10%", 0.0, 0.0, false),
            ("response.p99>+5ms", 1e6, 6_100_000.0, true),
            ("response.p99<=-5ms", 6e6, 1e6, true),
        ] {
            assert_eq!(condition(text).holds(base, new), holds, "{text} {base} {new}");
            assert_eq!(condition(text).expression(), text.trim());
        }
    }

    #[test]
    fn a_mistake_is_told() {
        for (text, told) in [
            ("response.p99", "is no condition on a difference"),
            ("response.p99>10%", "is no condition on a difference"),
            ("response.p99==+10%", "is no condition on a difference"),
            ("response.p98>+10%", "there is no metric 'response.p98'"),
            ("response.p99>+ten%", "'ten' is no percentage"),
            ("response.p99>+fast", "or write a percentage, like 10%"),
        ] {
            let error = text.parse::<Condition>().expect_err(text).to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_condition_or_refused(text in "\\PC{0,30}", amount in "[+-]?\\PC{0,6}%?") {
            let _ = text.parse::<Condition>();
            let _ = format!("response.p99>{amount}").parse::<Condition>();
        }
    }
}
