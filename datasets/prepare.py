"""Prepares datasets: the toy, those of the paper, or one made of a folder of your own images; and checks them.

    python datasets/prepare.py toy
    python datasets/prepare.py butterflies | chinese_chars | gull | nabirds
    python datasets/prepare.py folder ~/my_birds --name my_birds
    python datasets/prepare.py check butterflies_s300

Each command has its own --help. See datasets/README.md for the archives and their terms.

Reads: an archive (downloaded or given with --archive), or your images. `check` only reads.

Writes: below --data-root (default: datasets), one folder per dataset with images/ and lists. Downloads are kept in
.downloads/ there.

Takes: seconds for thousands of images, after the download. No GPU is used.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

# Python starts with the script's folder on its path. `utils` and `datasets` are in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets import folder, sources
from datasets.checking import check_dataset, count_table, some
from datasets.splits import share_out
from utils.base.errors import InputError
from utils.base.files import expanded, refuse_existing, replacing_folder, write_table
from utils.data.catalog import DATASETS, GULLS, REST, find
from utils.running.launch import command
from utils.running.settings import laid_out

PROBLEMS_SHOWN = 20
TEST_SHARE = 0.2


class Parser(argparse.ArgumentParser):
    """Reports errors in one sentence, like all other wrong input."""

    def __init__(self, **settings) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str):
        raise InputError(f"{message}. See {self.prog} --help.")


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns exit status 0, or 1 if `check` finds problems; errors exit with 1 or 2."""
    with command("prepare.py"):
        args = build_parser().parse_args(argv)
        status = args.run(args)
    return status


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="prepare.py", description=laid_out(__doc__ or ""))
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, prog=f"prepare.py {name}", help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        sub.add_argument(
            "--data-root", type=path, default="datasets", help="folder of the datasets (default: datasets)"
        )
        if name != "check":
            sub.add_argument("--force", action="store_true", help="replace the dataset if it exists")
        sub.set_defaults(run=run)
        return sub

    toy = add("toy", run_toy, "draw the toy dataset")
    toy.add_argument("--seed", type=seed, default=0, help="seed of the drawing (default: 0)")
    for source in sources.SOURCES.values():
        add_source_options(add(source.name, run_source, f"make {source.folder} from {source.archive}"), source)
    add_folder_options(add("folder", run_folder, "make a dataset out of a folder of your own images"))
    check = add("check", run_check, "count the images, and find missing, broken, mislabeled and repeated ones")
    known = ", ".join(DATASETS)
    check.add_argument("dataset", metavar="DATASET", help=f"{known}, your own, or one of these followed by {REST}")
    return parser


def add_source_options(sub: argparse.ArgumentParser, source: sources.Source) -> None:
    sub.set_defaults(source=source)
    place = sub.add_mutually_exclusive_group()
    place.add_argument("--archive", type=path, help="zip or tar file to use instead of a download")
    place.add_argument("--url", help=f"address of the download (default: {source.url or 'none'})")
    sub.add_argument("--md5", help="MD5 checksum that the archive must have (known for CUB's own address)")
    lists = sub.add_mutually_exclusive_group()
    lists.add_argument("--lists", type=path, help="folder with the paper's lists")
    lists.add_argument(
        "--lists-url", default=sources.LISTS_URL, help="address of the paper's lists (default: %(default)s)"
    )
    lists.add_argument("--split-seed", type=seed, help="draw stratified lists with this seed instead")


def add_folder_options(sub: argparse.ArgumentParser) -> None:
    shape = "<Class>/<files>, train/ and test/ with such folders, or any with --labels"
    sub.add_argument("folder", type=path, metavar="DIR", help=shape)
    sub.add_argument("--name", required=True, help="name of the dataset, for --dataset")
    sub.add_argument("--labels", type=path, help="table with the classes (CSV in UTF-8: comma, semicolon or tab)")
    sub.add_argument("--path-column", default="path", help="its column with the images' paths (default: path)")
    sub.add_argument("--label-column", default="label", help="its column with the classes (default: label)")
    expert = sub.add_mutually_exclusive_group()
    expert.add_argument("--expert", type=count, help="training images per class; people label the rest")
    expert.add_argument("--expert-share", type=share, default=1.0, help="the same, as a share (default: 1)")
    sub.add_argument("--test-share", type=share, help=f"share of each class to test on (default: {TEST_SHARE})")
    sub.add_argument("--seed", type=seed, default=0, help="seed of the lists (default: 0)")
    sub.add_argument("--copy", action="store_true", help="copy the images instead of linking to them")
    sub.add_argument("--things", nargs=2, default=(), metavar=("ONE", "MANY"), help="what images show, e.g. bird birds")


def path(text: str) -> Path:
    return Path(expanded(text))


def share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return float(text)


def seed(text: str) -> int:
    if int(text) < 0:  # Python draws the same numbers for the seeds n and -n
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return int(text)


def run_toy(args: argparse.Namespace) -> int:
    """Draws the toy dataset."""
    from utils.base.machine import processors
    from utils.data.toy_moths import draw_toy_dataset  # imports scipy

    draw_toy_dataset(args.data_root, args.seed, args.force, workers=processors())
    print(f"{args.data_root / 'toy'} is ready.")
    return 0


def run_source(args: argparse.Namespace) -> int:
    """Makes a dataset of the paper from its archive and lists."""
    source, downloads = args.source, args.data_root / ".downloads"
    refuse_existing(args.data_root / source.folder, args.force)
    # Lists come first: they are small, and a missing one should not be noticed after a long download.
    lists = None
    if args.split_seed is None:
        lists = sources.obtain_lists(source, args.lists, args.lists_url, downloads / "lists")
    archive = sources.obtain_archive(source, args.archive, args.url, args.md5, downloads)
    with replacing_folder(args.data_root, source.folder, args.force) as staging:
        target = staging / source.folder
        files = sources.extract_images(archive, source, target / "images")
        if lists is None:
            sources.write_drawn_lists(source, target, files, args.split_seed)
        else:
            sources.place_lists(source, staging, lists, archive)
    print(f"{args.data_root / source.folder} is ready: {sum(map(len, files.values()))} images.")
    if source.classes == GULLS:
        sources.update_whole_gulls(args.data_root, redraw=args.force and lists is None)
    return 0


def run_folder(args: argparse.Namespace) -> int:
    """Makes a dataset out of a folder of the user's own images."""
    target = args.data_root / args.name
    refuse_existing(target, args.force)
    folder.check_places(args.folder, args.name, args.data_root)
    top = args.folder.resolve()
    files, skipped = folder.find_files(top)
    if args.labels is None:
        pictures = folder.label_by_folders(files)
    else:
        pictures = folder.label_by_table(files, skipped, top, args.labels, args.path_column, args.label_column)
    if args.test_share is not None and any(picture.tested for picture in pictures):
        raise InputError(f"{args.folder} has a folder of test images. Remove --test-share.")
    named = {picture.label for picture in pictures if picture.label}
    pictures = folder.separate_twins(folder.keep_decodable(pictures, skipped, top), skipped)
    classes = sorted({picture.label for picture in pictures if picture.label})
    lists = share_out(pictures, args.test_share or TEST_SHARE, args.expert, args.expert_share, args.seed)
    folder.check_lists(args.folder, classes, lists, skipped)
    with replacing_folder(args.data_root, args.name, args.force) as staging:
        rows = folder.write_dataset(staging / args.name, top, classes, lists, args.things, args.copy)
        if skipped:
            columns = [
                {"path": folder.shown(path), "reason": folder.shown(why)} for path, why in sorted(skipped.items())
            ]
            write_table(staging / args.name / "skipped.csv", columns)
    print(f"{target} is ready: {len(pictures)} images.\n{count_table(classes, rows)}")
    for remark in folder.remarks(classes, lists):
        print(remark)
    if lost := sorted(named - set(classes)):
        print(f"Classes left out, because they have no usable image: {some(lost)}.")
    if skipped:
        print(f"Left out: {folder.skip_summary(skipped)}. See {target / 'skipped.csv'}.")
    print(f"Next: python train_butterflies_resnet18.py --dataset {args.name}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Prints the counts and problems of a dataset."""
    dataset = find(args.dataset, args.data_root)
    table, problems, remarks = check_dataset(dataset, args.data_root)
    print("\n".join([f"{dataset.name} in {args.data_root / dataset.folder}", table, *remarks]))
    for problem in problems[:PROBLEMS_SHOWN]:
        print(problem)
    if len(problems) > PROBLEMS_SHOWN:
        print(f"... and {len(problems) - PROBLEMS_SHOWN} more")
    if problems:
        print("1 problem." if len(problems) == 1 else f"{len(problems)} problems.")
    else:
        print("No problems: every image exists and can be decoded, and no image is in two lists.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
