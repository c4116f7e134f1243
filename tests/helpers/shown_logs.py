"""Made-up logs of explain_teach: people, what they were shown by number, what they answered."""

import json


def write_logs(folder, paths, people, classes):
    """Writes `teaching_images.json` and `results.json` below a folder; returns the table's path.

    Args:
        folder: made if it is not there.
        paths: of pictures, `<folder>/images/<Class>/<file>`; their place is their number.
        people: (name, group, numbers of lessons, numbers of the test, answers to the test) of each.
        classes: folder names in label order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = [classes.index(path.split("/")[2].replace(" ", "")) for path in paths]
    (folder / "teaching_images.json").write_text(json.dumps([{"image_url": path} for path in paths]))
    logs = []
    for name, group, lessons, tests, answers in people:
        numbers = [*lessons, *tests]
        logs.append(
            {
                "_id": {"$oid": name},
                "strategy": group,
                "image_id": numbers,
                "gt_label": [labels[n] for n in numbers],
                "is_train": [1] * len(lessons) + [0] * len(tests),
                "response": [labels[n] for n in lessons] + list(answers),
                "time": ["10:00:00"] * len(numbers),
            }
        )
    (folder / "results.json").write_text(json.dumps(logs))
    return folder / "teaching_images.json"
