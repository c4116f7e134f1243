"""Prepares datasets: the toy, those of the paper, or one made of a folder of your own images; and checks them.

    python datasets/prepare.py toy
    python datasets/prepare.py butterflies | chinese_chars | gull | nabirds
    python datasets/prepare.py folder ~/my_birds --name my_birds
    python datasets/prepare.py check butterflies_s300

Writes one folder per dataset, with images/ and lists, below --data-root. See datasets/README.md for the archives and
their terms, and COMMAND --help for the options. Takes seconds for thousands of images, after the download.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

# Python starts with the script's folder on its path. `utils` and `datasets` are in the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets import folder, sources
from datasets.checking import check_dataset, count_table, find_remarks
from datasets.splits import draw_lists, share_out
from utils.base.errors import InputError
from utils.base.files import expanded, refuse_existing, replacing_folder
from utils.data.catalog import DATASETS, REST, find
from utils.data.lists import write_examples
from utils.running.launch import command


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns exit status 0, or 1 if `check` finds problems; errors exit with 1 or 2."""
    with command("prepare.py"):
        args = build_parser().parse_args(argv)
        status = args.run(args)
    return status


def build_parser() -> argparse.ArgumentParser:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="prepare.py", description=__doc__, formatter_class=as_written)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, prog=f"prepare.py {name}", help=text, description=text, allow_abbrev=False)
        sub.add_argument("--data-root", type=path, default="datasets", help="folder of the datasets")
        if name != "check":
            sub.add_argument("--force", action="store_true", help="replace the dataset if it exists")
        sub.set_defaults(run=run)
        return sub

    toy = add("toy", run_toy, "draw the toy dataset")
    toy.add_argument("--seed", type=not_negative, default=0, help="seed of the drawing (default: 0)")
    for name, source in sources.SOURCES.items():
        add_source_options(add(name, run_source, f"make {source.folder} from {source.archive}"), source)
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
    lists = sub.add_mutually_exclusive_group()
    lists.add_argument("--lists", type=path, help="folder with the paper's lists")
    lists.add_argument("--lists-url", default=sources.LISTS_URL, help="their address (default: %(default)s)")
    lists.add_argument("--split-seed", type=not_negative, help="draw stratified lists with this seed instead")


def add_folder_options(sub: argparse.ArgumentParser) -> None:
    shape = "<Class>/<files>, train/ and test/ with such folders, or any with --labels"
    sub.add_argument("folder", type=path, metavar="DIR", help=shape)
    sub.add_argument("--name", required=True, help="name of the dataset, for --dataset")
    sub.add_argument("--labels", type=path, help="table with the classes (CSV in UTF-8: comma, semicolon or tab)")
    sub.add_argument("--path-column", default="path", help="its column with the images' paths (default: path)")
    sub.add_argument("--label-column", default="label", help="its column with the classes (default: label)")
    same = "images of one list: those in whose path a regular expression finds the same, or a column of --labels"
    sub.add_argument("--group-by", metavar="REGEX", help=same)
    expert = sub.add_mutually_exclusive_group()
    expert.add_argument("--expert", type=not_negative, help="training images per class; people label the rest")
    expert.add_argument("--expert-share", type=share, default=1.0, help="the same, as a share (default: 1)")
    sub.add_argument("--test-share", type=share, default=0.2, help="share of each class to test on (default: 0.2)")
    sub.add_argument("--seed", type=not_negative, default=0, help="seed of the lists (default: 0)")
    sub.add_argument("--copy", action="store_true", help="copy the images instead of linking to them")
    sub.add_argument("--things", nargs=2, default=(), metavar=("ONE", "MANY"), help="what images show, e.g. bird birds")


def path(text: str) -> Path:
    return Path(expanded(text))


def share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return float(text)


def not_negative(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def run_toy(args: argparse.Namespace) -> int:
    from utils.base.machine import processors
    from utils.data.toy_moths import draw_toy_dataset  # imports scipy

    draw_toy_dataset(args.data_root, args.seed, args.force, workers=processors())
    print(f"{args.data_root / 'toy'} is ready.")
    return 0


def run_source(args: argparse.Namespace) -> int:
    source, downloads = args.source, args.data_root / ".downloads"
    refuse_existing(args.data_root / source.folder, args.force)
    # Lists come first: they are small, and a missing one should not be noticed after a long download.
    lists = None
    if args.split_seed is None:
        lists = sources.obtain_lists(source, args.lists, args.lists_url, downloads / "lists")
    archive = sources.obtain_archive(source, args.archive, args.url, downloads)
    with replacing_folder(args.data_root, source.folder, args.force) as staging:
        target = staging / source.folder
        files = sources.extract_images(archive, source, target / "images")
        if lists is None:
            for stem, rows in draw_lists(source.folder, files, source.parts, args.split_seed).items():
                write_examples(target / f"{stem}.txt", rows)
        else:
            sources.place_lists(source, staging, lists, archive)
    print(f"{args.data_root / source.folder} is ready: {sum(map(len, files.values()))} images.")
    sources.join_gulls(args.data_root, redraw=args.force and lists is None)
    return 0


def run_folder(args: argparse.Namespace) -> int:
    if args.expert == 0:
        raise InputError("--expert 0 leaves no training image. Use 1 or more.")
    target = args.data_root / args.name
    refuse_existing(target, args.force)
    folder.check_places(args.folder, args.name, args.data_root)
    top, skipped = args.folder.resolve(), dict[str, str]()
    files = folder.find_files(top, skipped)
    if args.labels is None:
        pictures = folder.label_by_folders(files)
    else:
        columns = (args.path_column, args.label_column, args.group_by or "")
        pictures = folder.label_by_table(files, skipped, top, args.labels, *columns)
    if args.group_by and not any(picture.group for picture in pictures):
        folder.group_by_path(pictures, args.group_by)
    pictures = folder.keep_usable(pictures, skipped, top)
    lists = share_out(pictures, args.test_share, args.expert, args.expert_share, args.seed)
    folder.check_lists(args.folder, lists, skipped)
    with replacing_folder(args.data_root, args.name, args.force) as staging:
        classes, rows = folder.write_dataset(staging / args.name, top, lists, skipped, args.things, args.copy)
    ready = f"{target} is ready: {len(pictures)} images."
    print("\n".join([ready, count_table(classes, rows), *find_remarks(classes, lists)]))
    if skipped:
        print(f"Left out: {folder.skip_summary(skipped)}. See {target / 'skipped.csv'}.")
    print(f"Next: python train_butterflies_resnet18.py --dataset {args.name}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    dataset = find(args.dataset, args.data_root)
    table, problems, remarks = check_dataset(dataset, args.data_root)
    print("\n".join([f"{dataset.name} in {args.data_root / dataset.folder}", table, *remarks, *problems]))
    print(f"Problems: {len(problems)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
