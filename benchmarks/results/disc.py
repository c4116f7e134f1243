"""The control that points at nothing: explanations with a disc in the middle of the picture in place of the mask, of the same area."""

from utils.base.files import write_png
from utils.data.lists import Example, Explanation, listed_path, write_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import IMG, MASK, TEACHING_SIZE, Layout, explanation_name
from utils.explanations.localization import disc
from utils.explanations.rendering import fill_outside
from utils.explanations.storage import listed_counters, read_masks


def write_discs(explained: Layout, files: Layout, images: ImageSet[Example], num_classes: int) -> None:
    """Writes pictures, masks and list of the control, as an explanation script would; the list last.

    Args:
        explained: where the explanations lie whose areas the discs have.
        files: names of what is written.
        images: the explained list, in the whole view at the side of the masks.
        num_classes: C.

    Raises:
        InputError: an explanation is missing.
    """
    folders = {kind: files.explanations(kind, TEACHING_SIZE) for kind in (IMG, MASK)}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (row, counters) in enumerate(
        zip(images.rows, listed_counters(explained, images.rows, num_classes), strict=True)
    ):
        discs, _ = disc(read_masks(explained, row, counters, TEACHING_SIZE))  # (B, s, s)
        pictures = fill_outside(images[number].expand(len(discs), -1, -1, -1), discs)  # (B, 3, s, s)
        for b, inside, picture in zip(counters, discs, pictures, strict=True):
            name = explanation_name(row.path, row.label, b, row.index)
            write_png(folders[MASK] / name, inside.to(picture.dtype).expand(3, -1, -1) * 255)
            write_png(folders[IMG] / name, picture)
            listed.append(Explanation(listed_path(folders[IMG] / name), row.label, b, row.index))
    write_explanations(files.explanation_list(), listed)
