"""What `prepare.py COMMAND --help` says: what is read and written, and how long that takes."""

from datasets.sources import Source

TOLD = {  # what --help says of a command that is not one of an archive's
    "toy": """
Reads: nothing.

Writes: <data root>/toy/ with images/ and the lists toy_gt_tr.txt, toy_gt_te.txt and toy_gt_rest_tr.txt.

Takes: about 10 seconds on a CPU core.""",
    "folder": """
Reads: DIR, which stays as it is, and the table that --labels names.

Writes: <data root>/<name>/ with images/ (links, or copies with --copy), the lists <name>_gt_tr.txt, <name>_gt_te.txt and, where images
are left for people to label, <name>_gt_rest_tr.txt; dataset.json, by which --dataset <name> finds them; original_names.csv; and
skipped.csv, where something had to be left out.

Takes: about 4 seconds for 2,000 small images on 2 CPU cores.""",
    "check": """
Reads: the dataset's lists and all of their images.

Writes: nothing; it prints the counts and the problems, and ends with status 1 if there is one.

Takes: about 2 seconds for 2,000 small images on a CPU core.""",
}


def of_archive(source: Source) -> str:
    """What --help says of an archive's command."""
    return f"""
Reads: {source.archive}, which is downloaded where its owner allows it (--archive names one that is here), and the paper's lists.

Writes: <data root>/{source.folder}/ with images/ and the lists; downloads stay in <data root>/.downloads/, for the next time.

Takes: as long as the download, and seconds for thousands of images.
"""
