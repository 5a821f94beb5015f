#!/usr/bin/env bash
# What c1000k-report writes, read by programs that are not ours: histograms by PyPI's hdrhistogram,
# pages by Chromium without a screen, at the width of a desk and of a telephone, light and dark.
#
#   ./scripts/tests/report.sh       (needs python3 with venv, chromium, and the release programs; puts `hdrhistogram`
#                                    into target/peers)
#
# The pages and their pictures stay in target/report-pages, to be looked at.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=report
. scripts/tests/common.sh
report=$programs/c1000k-report
pages=$target/report-pages
fixtures=crates/report/tests/fixtures
kept=(results/kept-*/result.json)
install_python hdrh 'hdrhistogram==0.10.8'

# ---- Kept runs ------------------------------------------------------------------------------------

# What a README says of a kept run by itself is what keep.py makes of its files.
for file in "${kept[@]}"; do
    folder=$(dirname "$file")
    made=$(python3 scripts/keep.py "$folder" "${folder##*/kept-}")
    for word in "## Command" "## Machine" "## Files" "$(grep -m1 '^c1000k-client' "$folder/command.txt")" \
        '](result.json)' "$(sed -n 's/.*"kernel_release": *"\([^"]*\)".*/\1/p' "$file" | head -n 1)" \
        "$(sed -n 's/.*"cpu_model": *"\([^"]*\)".*/\1/p' "$file" | head -n 1)" \
        "On $(sed -n 's/.*"started": *"\([^T"]*\)T.*/\1/p' "$file" | head -n 1):"; do
        grep -qF -- "$word" <<<"$made" || fail "keep.py says nothing of '$word' in $folder"
    done
done
echo "report: ${#kept[@]} kept runs have a README"

# ---- Histograms -----------------------------------------------------------------------------------

for file in "$fixtures/repeats/run-01.json" "$fixtures/v1/million.json" "${kept[@]}"; do
    "$report" export --format hlog "$file" -o "$work/all.hlog"
    sed -n 's/^Tag=\([a-z_]*\),.*/\1/p' "$work/all.hlog" | sort -u | while read -r stage; do
        "$report" export --format hgrm --stage "$stage" "$file" -o "$work/$stage.hgrm"
    done
    "$python" - "$file" "$work" <<'PYTHON'
import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

path, folder = sys.argv[1:]
stages = json.load(open(path))["stages"]
PERCENTILES = {"p50": 50, "p75": 75, "p90": 90, "p99": 99, "p999": 99.9, "p9999": 99.99}


def same(name, ours, theirs, share):
    if abs(ours - theirs) > share * max(ours, 1):
        sys.exit(f"report: {path}: {name}: {ours} here, {theirs} there")


class Cells:
    """What their histogram holds, cell by cell; their own percentiles round the rank to the nearest."""

    def __init__(self, histogram):
        cells = histogram.get_recorded_iterator()
        self.upto = [(cell.value_iterated_to, cell.total_count_to_this_value) for cell in cells]
        self.count = histogram.get_total_count()

    def at(self, share):
        """The first cell up to which that share of all values lies, and how many those are."""
        return next(cell for cell in self.upto if cell[1] >= share * self.count - 1e-6)


for stage, entry in stages.items():
    # The histogram in the result itself.
    cells = Cells(HdrHistogram.decode(entry["hdr"]))
    same(f"{stage} count", entry["count"], cells.count, 0)
    for name, percentile in PERCENTILES.items():
        value, _ = cells.at(percentile / 100)
        same(f"{stage} {name}", entry[name], min(value, entry["max"]), 0)
    # The intervals of its tag in the log, added up; those of a second have two digits.
    total = HdrHistogram(1, 2**42 - 1, 2)
    reader = HistogramLogReader(f"{folder}/all.hlog", total)
    intervals = 0
    while interval := reader.get_next_interval_histogram():
        if interval.get_tag() == stage:
            total.add(interval)
            intervals += 1
    logged = Cells(total)
    same(f"{stage} count in the log", entry["count"], logged.count, 0)
    for name, percentile in PERCENTILES.items():
        value, _ = logged.at(percentile / 100)
        same(f"{stage} {name} in the log", entry[name], min(value, entry["max"]), 0.01)
    # The percentile output, in microseconds.
    rows = [line.split() for line in open(f"{folder}/{stage}.hgrm") if line[:1] == " "][1:]
    same(f"{stage} count in the hgrm", entry["count"], int(rows[-1][2]), 0)
    same(f"{stage} max in the hgrm", entry["max"], float(rows[-1][0]) * 1000, 0)
    for value, quantile, seen, *_ in rows:
        theirs, count = cells.at(float(quantile))
        same(f"{stage} at {quantile} in the hgrm", min(theirs, entry["max"]), float(value) * 1000, 1e-6)
        same(f"{stage} values up to {quantile} in the hgrm", count, int(seen), 0)
    print(f"report: {path}: {stage}: {entry['count']} values in {intervals} intervals agree")
PYTHON
done

# ---- Pages ----------------------------------------------------------------------------------------

mkdir -p "$pages"
"$report" html "${kept[0]}" -o "$pages/kept.html"
"$report" html "$fixtures/repeats/run-01.json" -o "$pages/one.html"
"$report" html "$fixtures"/repeats/run-0[1-3].json -o "$pages/three.html"
"$report" html "$fixtures/v1/million.json" -o "$pages/warned.html"

# chromium OPTIONS...: what it says, and what a page says to its console, goes to the log.
browse() {
    chromium --headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run \
        --user-data-dir="$work/profile" --allow-file-access-from-files --hide-scrollbars \
        --enable-logging=stderr "$@" 2>>"$work/chromium.log"
}
# A page in a frame of a width, as no window is as narrow as a telephone, and what is seen in it.
frame() {
    cat <<HTML
<!doctype html><title>frame</title>
<body style="margin:0"><iframe src="$1" style="border:0;width:$2px;height:$3px"></iframe>
<script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  const all = [...page.querySelectorAll("svg.chart")];
  const seen = all.filter((one) => one.getBoundingClientRect().width > 0);
  const text = seen.flatMap((one) => [...one.querySelectorAll("text")]);
  document.body.dataset.charts = all.length / 2;
  document.body.dataset.seen = seen.length;
  document.body.dataset.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  document.body.dataset.smallest = Math.min(...text.map((one) => one.getBoundingClientRect().height));
};
</script></body>
HTML
}
seen() { sed -n "s/.*data-$1=\"\([-0-9.]*\)\".*/\1/p" "$work/dom" | head -n 1; }

pages=$(realpath "$pages")
for page in kept one three warned; do
    for width in 1280 390; do
        frame "$pages/$page.html" "$width" 4200 >"$work/frame.html"
        browse --window-size=1300,4200 --dump-dom "file://$work/frame.html" >"$work/dom"
        charts=$(seen charts)
        ((charts > 0)) || fail "$page at $width: no charts"
        [[ $(seen seen) == "$charts" ]] || fail "$page at $width: $(seen seen) of $charts charts are to be seen"
        [[ $(seen overflow) == 0 ]] || fail "$page at $width: wider than the screen by $(seen overflow)"
        smallest=$(seen smallest)
        ((${smallest%.*} >= 10)) || fail "$page at $width: text of $smallest pixels"
        # In Chromium's own numbers.
        for scheme in 0-dark 1-light; do
            picture=$pages/$page-$width-${scheme#*-}.png
            rm -f "$picture"
            browse --window-size="$((width < 500 ? 500 : width)),4200" --screenshot="$picture" \
                --blink-settings="preferredColorScheme=${scheme%-*}" "file://$work/frame.html" >/dev/null
            [[ -s $picture ]] || fail "$page at $width, ${scheme#*-}: no picture"
        done
        echo "report: $page at $width: $charts charts, no overflow, text of $smallest pixels"
    done
done
if grep -E ':CONSOLE|Refused to|net::ERR' "$work/chromium.log"; then fail "the pages say something to the console"; fi
echo "report: pictures in $pages"
