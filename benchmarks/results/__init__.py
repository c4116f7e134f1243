"""The tables between markers in docs/results.md from one command: `python -m benchmarks.results`, or `make results`.

__main__      how does a run go? (a command)
parts         which parts are there? One more is one file and one line there.
table         what does a part give?
work          with what does it work, and what is kept so that a killed run goes on?
stages        which teachers, encoders and explanations do several parts need?
courses       which course teaches a machine student best?
overview      what do all courses come to?
explanations  where do explanations fall, and what does it cost to blur that?
labels        what are people's labels worth, and what needs no people?
disc          what would explanations be worth that point at nothing?
curves        how are learning curves and bars drawn?
page          how does a table get into the page, and out of it?
check         where do the page and the CSVs differ? (a command)
environment   on what was it measured?
"""
