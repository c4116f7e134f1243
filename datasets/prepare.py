"""Fills the data root: draws the toy dataset, or makes a dataset of the paper from its owner's archive, or one of a folder of your own
images, or checks one.

    python datasets/prepare.py toy
    python datasets/prepare.py butterflies | chinese_chars | gull | nabirds
    python datasets/prepare.py folder ~/my_birds --name my_birds
    python datasets/prepare.py check butterflies_s300

datasets/README.md says where each archive comes from and under which terms. Each command has a --help of its own.

Reads: an archive, downloaded or given, or your images.

Writes: below --data-root (default: datasets), a folder per dataset with images/ and lists; downloads stay in .downloads/.

Takes: seconds for thousands of images, after the download. No GPU is used.
"""

import argparse
import re
import sys
from pathlib import Path

# Run as a script, Python looks for modules beside the script, not in the repository's root, where `utils` and `datasets` lie.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.archives import extract_images, is_saved_page
from datasets.checking import check_dataset
from datasets.download import check_scheme, fetch
from datasets.images import inspect_images
from datasets.own import Own, by_kind, make_own_dataset, told
from datasets.placing import find_lists, place_lists, settle_whole_gulls, write_drawn_lists
from datasets.sources import LISTS_URL, SOURCES, Layout, Source
from datasets.splits import Shares
from datasets.telling import TOLD, of_archive
from utils.base.errors import InputError, RunError, plain_warnings
from utils.base.files import expanded, file_digest, make_folder, refuse_existing, replacing_folder
from utils.data.catalog import DATASETS, GULLS, REST, find
from utils.running.settings import laid_out

PROBLEMS_SHOWN = 20


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as any other wrong input is reported: one sentence. Its description stands as it was laid out."""

    def __init__(self, **how) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **how)

    def error(self, message: str):
        raise InputError(f"{message}; see {self.prog} --help.")


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status: 0, 1 (the run failed or found problems), 2 (wrong input), 130 (Ctrl-C)."""
    try:
        with plain_warnings():
            args = build_parser().parse_args(argv)
            return args.run(args)
    except InputError as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, 1)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}; mend that and run again.", 1)
    except MemoryError:
        return _fail("The memory of this machine is full; end what else fills it, then run again.", 1)
    except KeyboardInterrupt:
        return _fail("stopped; an unfinished download goes on when run again.", 130)


def _fail(message: object, status: int) -> int:
    print(f"prepare.py: error: {message}", file=sys.stderr)
    return status


def build_parser() -> argparse.ArgumentParser:
    """The command line: one subcommand per source, and `toy`, `folder` and `check`."""
    parser = Parser(prog="prepare.py", description=laid_out(__doc__ or ""))
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, run, text: str, told: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, prog=f"prepare.py {name}", help=text, description=laid_out(f"{text[0].upper()}{text[1:]}.\n{told}")
        )
        sub.add_argument(
            "--data-root",
            type=unfolded,
            default=Path("datasets"),
            help="the folder that holds the datasets (default: datasets)",
        )
        sub.set_defaults(run=run)
        return sub

    toy = command("toy", run_toy, "draw the toy dataset", TOLD["toy"])
    toy.add_argument("--seed", type=natural_number, default=0, help="seed of the drawing (default: 0)")
    toy.add_argument("--force", action="store_true", help="replace the folder if it exists")
    for source in SOURCES.values():
        _add_source_options(
            command(source.name, run_source, f"make {source.folder} from {source.archive}", of_archive(source)), source
        )
    _add_folder_options(command("folder", run_folder, "make a dataset of a folder of your own images", TOLD["folder"]))
    check = command(
        "check", run_check, "count images, and find missing, broken, mislabelled and leaked ones", TOLD["check"]
    )
    check.add_argument(
        "dataset",
        metavar="DATASET",
        help=f"one of: {', '.join(DATASETS)}; or your own; or one of these with {REST} behind it",
    )
    return parser


def _add_source_options(sub: argparse.ArgumentParser, source: Source) -> None:
    sub.set_defaults(source=source)
    place = sub.add_mutually_exclusive_group()
    place.add_argument(
        "--archive",
        type=unfolded,
        help=f"take this zip or tar archive instead of downloading; its images lie at {source.shapes}",
    )
    place.add_argument(
        "--url", help=f"download from here (default: {source.url or 'none: its owner wants terms agreed to first'})"
    )
    sub.add_argument(
        "--md5",
        type=md5_digits,
        help="refuse an archive with another md5 checksum (default: the known one of the default address, if any)",
    )
    lists = sub.add_mutually_exclusive_group()
    lists.add_argument(
        "--lists", type=unfolded, help=f"take the lists from this folder or its {source.folder}/ instead of downloading"
    )
    lists.add_argument(
        "--lists-url", default=LISTS_URL, help="download the paper's lists from here (default: %(default)s)"
    )
    lists.add_argument(
        "--split-seed", type=natural_number, help="draw stratified lists of the paper's sizes by this seed instead"
    )
    sub.add_argument("--force", action="store_true", help=f"replace {source.folder} if it exists")


def _add_folder_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "folder",
        type=unfolded,
        metavar="DIR",
        help="<Class>/<files>, or train/ and test/ of such folders, or any with --labels",
    )
    sub.add_argument("--name", required=True, help="of the dataset: what --dataset will take")
    sub.add_argument(
        "--labels", type=unfolded, help="take the classes from this table (CSV of any separator, UTF-8 or UTF-16)"
    )
    sub.add_argument("--path-column", default="path", help="the table's column with the images' paths (default: path)")
    sub.add_argument("--label-column", default="label", help="the table's column with their classes (default: label)")
    expert = sub.add_mutually_exclusive_group()
    expert.add_argument(
        "--expert", type=natural_number, help="training images a class; the rest is for people to label"
    )
    expert.add_argument(
        "--expert-share", type=share, default=1.0, help="the same as a share of all but the test images (default: 1)"
    )
    sub.add_argument(
        "--test-share", type=share, help="share of each class's images that are for testing (default: 0.2)"
    )
    sub.add_argument("--seed", type=natural_number, default=0, help="seed of the lists (default: 0)")
    sub.add_argument("--copy", action="store_true", help="copy the images, instead of making links that lead to them")
    sub.add_argument("--things", nargs=2, default=(), metavar=("ONE", "MANY"), help="what a picture shows: bird birds")
    sub.add_argument("--force", action="store_true", help="replace the dataset if it exists")


def share(text: str) -> float:
    """A number above 0 and not above 1.

    Raises:
        argparse.ArgumentTypeError: `text` is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0 and not above 1")
    return value


def natural_number(text: str) -> int:
    """A whole number, 0 or more (Python draws the same for seeds n and -n, so negative ones would mislead).

    Raises:
        argparse.ArgumentTypeError: `text` is none.
    """
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, 0 or more")
    return int(text)


def unfolded(text: str) -> Path:
    """A path, `~` and `$HOME` in it being what they stand for."""
    return Path(expanded(text))


def md5_digits(text: str) -> str:
    """An md5 checksum: 32 hexadecimal digits, given back in lower case.

    Raises:
        argparse.ArgumentTypeError: `text` is none.
    """
    if not re.fullmatch("[0-9a-fA-F]{32}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not 32 hexadecimal digits")
    return text.lower()


def run_toy(args: argparse.Namespace) -> int:
    """Draws the toy dataset."""
    # Only this subcommand needs what the drawing imports.
    from utils.base.machine import processors
    from utils.data.toy_moths import draw_toy_dataset

    draw_toy_dataset(args.data_root, args.seed, args.force, workers=processors())
    print(f"{args.data_root / 'toy'} is ready.")
    return 0


def run_folder(args: argparse.Namespace) -> int:
    """Makes a dataset of a folder of the user's own, and says what became of it."""
    if args.expert == 0 or args.test_share == 1:
        name, value = ("expert", 0) if args.expert == 0 else ("test-share", 1)
        raise InputError(f"--{name} {value} leaves no image to learn from; correct it.")
    shares = Shares(args.test_share, args.expert, args.expert_share, args.seed)
    names = ("folder", "name", "data_root", "copy", "labels", "path_column", "label_column", "force")
    own = Own(shares=shares, things=tuple(args.things), **{name: getattr(args, name) for name in names})
    made = make_own_dataset(own)
    target = own.data_root / own.name
    print(f"{target} is ready: {made.images} images.\n{made.table}")
    for remark in made.remarks:
        print(remark)
    if made.skipped:
        print(f"Left out: {len(made.skipped)} (all in {target / 'skipped.csv'}).")
    for kind, paths in by_kind(made.skipped).items():
        print(f"  {told(kind, paths)}")
    print(f"Next: python train_butterflies_resnet18.py --dataset {own.name}")
    return 0


def run_source(args: argparse.Namespace) -> int:
    """Makes one dataset from its archive and lists."""
    source: Source = args.source
    refuse_existing(args.data_root / source.folder, args.force)
    # The small things first: a wrong setting or a missing list should not be found out after an hour of downloading.
    url = None if args.archive else find_address(source, args.url)
    downloads = args.data_root / ".downloads"
    lists = None if args.split_seed is not None else find_lists(source, args.lists, args.lists_url, downloads / "lists")
    archive = args.archive or downloads / source.archive
    if url is None:
        refuse_wrong_archive(archive, args.md5, source)
    else:
        make_folder(downloads)
        fetch(
            url, archive, f"{source.remedy}, or correct --url", args.md5 or (source.md5 if url == source.url else None)
        )
    build(args, archive, lists)
    if source.classes == GULLS:
        settle_whole_gulls(args.data_root, renew=args.force and lists is None)
    return 0


def build(args: argparse.Namespace, archive: Path, lists: dict[str, Path] | None) -> None:
    """Makes the folder of a source: images from `archive`, and `lists`, or drawn ones where that is None.

    Raises:
        InputError: the archive or a list cannot be used; nothing was changed.
    """
    source: Source = args.source
    with replacing_folder(args.data_root, source.folder, args.force) as staging:
        folder = staging / source.folder
        layout = source.layout_of(archive)
        extract_images(archive, layout.chooser(archive), folder / "images")
        files = extracted_files(source, folder / "images", archive, layout)
        refuse_broken(folder / "images", files, archive)
        if lists is None:
            write_drawn_lists(source, folder, files, args.split_seed)
        else:
            place_lists(source, folder, lists, archive)
    print(f"{args.data_root / source.folder} is ready: {sum(map(len, files.values()))} images.")


def run_check(args: argparse.Namespace) -> int:
    """Prints the counts and problems of a dataset in place."""
    dataset = find(args.dataset, args.data_root)
    table, problems, remarks = check_dataset(dataset, args.data_root)
    print("\n".join([f"{dataset.name} in {args.data_root / dataset.folder}", table, *remarks]))
    for problem in problems[:PROBLEMS_SHOWN]:
        print(problem)
    if len(problems) > PROBLEMS_SHOWN:
        print(f"... and {len(problems) - PROBLEMS_SHOWN} more")
    count = "1 problem." if len(problems) == 1 else f"{len(problems)} problems."
    print(count if problems else "No problems: every image is there and decodes, and none is in two lists.")
    return 1 if problems else 0


def find_address(source: Source, url: str | None) -> str:
    """Where to download the archive from: the address given, or the source's own.

    Raises:
        InputError: there is none, or it is not an http or https address.
    """
    address = url or source.url
    if address is None:
        raise InputError(
            f"{source.archive} has no public address, its owner wants terms agreed to first; {source.remedy}."
        )
    check_scheme(address)
    return address


def refuse_wrong_archive(archive: Path, md5: str | None, source: Source) -> None:
    """Proves that the archive given is a file, no web page saved in its stead, and that it has the checksum given, if any.

    Raises:
        InputError: it is not, or has not.
    """
    if not archive.is_file():
        raise InputError(f"--archive '{archive}' is not a file; correct it.")
    if is_saved_page(archive):
        raise InputError(f"--archive '{archive}' is a web page and not an archive; {source.remedy}.")
    if md5 and file_digest(archive, "md5") != md5:
        raise InputError(f"--archive '{archive}' does not have the md5 checksum {md5}; download it again.")


def extracted_files(source: Source, images: Path, archive: Path, layout: Layout) -> dict[str, list[str]]:
    """The names of the extracted files by class, in label order.

    Raises:
        InputError: the archive held no image of some class.
    """
    files = {name: sorted(file.name for file in (images / name).glob("*")) for name in source.classes}
    if empty := [name for name, names in files.items() if not names]:
        raise InputError(
            f"{archive} holds no images of {', '.join(empty)}, though others at {layout.shape}; {source.remedy}."
        )
    return files


def refuse_broken(images: Path, files: dict[str, list[str]], archive: Path) -> None:
    """Decodes every image.

    Raises:
        InputError: naming the first that is broken.
    """
    for file, inspection in inspect_images(
        images / name / file for name, names in files.items() for file in names
    ).items():
        if inspection.problem:
            raise InputError(
                f"{archive}: the image {file.parent.name}/{file.name} {inspection.problem}; download the archive again."
            )


if __name__ == "__main__":
    sys.exit(main())
