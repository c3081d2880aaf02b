"""Write down figures that another command printed (`textdae pretrain`, `evaluate`, `scripts/test`, ...):

    python benchmarks/by_hand.py PROGRAM COMMAND [--questions KIND] "NAME=VALUE UNIT" ...

    python benchmarks/by_hand.py quickstart ./scripts/textdae\\ pretrain "quickstart: steps=2358 steps"

PROGRAM is the section of RESULTS.md (quickstart, images, definitions, fashion, tests, ...), KIND how held-out text was hidden ("whole words").
Commit, versions and machine are those of now: call it where and when the command ran.
"""

from compare import Run


def main(run: Run) -> None:
    if "--questions" in run.words:
        at = run.words.index("--questions")
        run.questions = run.words[at + 1]
        del run.words[at : at + 2]
    run.program, run.command, *figures = run.words
    for words in figures:
        try:
            name, quantity = words.rsplit("=", 1)
            value, unit = quantity.split(" ", 1)
            run.add(name, float(value.replace(",", "")), unit)
        except ValueError:
            raise SystemExit(
                f"{words!r} is not NAME=VALUE UNIT, such as 'quickstart: steps=2358 steps'"
            ) from None


if __name__ == "__main__":
    with Run(__doc__, 3) as run:
        main(run)
