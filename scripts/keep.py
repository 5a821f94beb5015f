"""The README of a kept run, but for what it shows: its command, its machine, its files.

    keep.py FOLDER NAME     FOLDER holds result.json and command.txt; the text goes to stdout

Used by keep.sh. Needs Python 3.9 and nothing else.
"""

import json
import pathlib
import sys

ABOUT = {
    "result.json": "the result",
    "report.html": "the same as a page with charts",
    "response.hgrm": "its response times by percentile",
    "summary.txt": "what was printed",
    "server.log": "what the server said",
}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    result = json.loads((folder / "result.json").read_text())
    command = (folder / "command.txt").read_text().strip()
    host, tool = result["host"], result["tool"]
    files = [f"- [`{file}`]({file}): {text}" for file, text in ABOUT.items() if (folder / file).exists()]
    print(f"""# {name}

<!-- write here what this run shows, in a few sentences -->

## Command

```text
{command}
```

## Machine

On {result["run"]["started"][:10]}: {host["cpu_model"]}, {len(host["cpus_allowed"])} cores, \
{host["memory"]["total_bytes"] / 2**30:.0f} GiB,
Linux {host["kernel_release"]}, {host["descriptors_hard"]:,} descriptors per table; the client is \
{tool["version"]}, commit
{tool["commit"] or "unknown"}.

## Files
""")
    print("\n".join(files))


if __name__ == "__main__":
    main()
