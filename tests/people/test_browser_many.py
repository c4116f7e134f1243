"""The course page in a real browser with 12 and with 200 classes, most answers without an explanation.

Needs Chromium and its driver; skips with a reason without them. Screenshots go to the folder that MEMORABLE_SCREENSHOTS names.
"""

import time
from types import SimpleNamespace

import pytest

from tests.helpers.many_classes import TWELVE, build_many, two_hundred

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from tests.helpers.person import DESKTOP, PHONE, Person, look, namings, resize, show_state  # noqa: E402

NO_EXPLANATION = "No explanation was made for this pair; compare the whole pictures."
NAMES = {12: TWELVE, 200: two_hundred()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of drawn courses, by their number of classes, built when they are first asked for."""
    built = {}

    def of(count):
        if count not in built:
            names = NAMES.get(count, NAMES[200])[:count]
            out, course = build_many(tmp_path_factory.mktemp(f"birds{count}"), "birds", names)
            built[count] = SimpleNamespace(out=out, course=course)
        return built[count]

    return of


@pytest.fixture
def opened(browser, pages):
    """Opens the page of so many classes, in a browser that has never seen it, up to the first lesson; returns the person."""

    def visit(count, size=DESKTOP, touch=False, page=None):
        page = page or pages(count)
        resize(browser, size, touch)
        browser.get((page.out / "course_page/index.html").as_uri())
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        someone = Person(browser, page.course)
        someone.sees("Learn to tell")
        someone.click("Start the first lesson")
        someone.sees("Lesson 1")
        return someone

    yield visit
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    resize(browser, DESKTOP)


def listed(person):
    """The names in the list, from its top."""
    return person.browser.execute_script(
        "return [...document.querySelectorAll('[role=option]')].map((some) => some.textContent)"
    )


def marked(person):
    """The name that Enter takes, as a screen reader is told; None where none is."""
    script = (
        "const box = document.querySelector('[role=combobox]'); const id = box.getAttribute('aria-activedescendant');"
        "const chosen = [...document.querySelectorAll('[aria-selected=true]')].map((some) => some.id);"
        "return [id, chosen, id && document.getElementById(id).textContent]"
    )
    told, chosen, name = person.browser.execute_script(script)
    assert chosen == ([told] if told else [])
    return name


def search(person, typed):
    """Types into the box in place of what stands there."""
    person.key(Keys.ESCAPE)
    person.key(typed)
    return listed(person)


def hint(person):
    """What stands under the box; the same is said to screen readers once something was typed."""
    return person.text("#hint")


def in_box(person):
    return person.browser.execute_script("return document.activeElement.getAttribute('role') === 'combobox'")


def answer(person, act):
    """Acts until one more answer is recorded; returns it."""
    before = len(person.trials)
    person.until(act, lambda: len(person.trials) > before, "an answer")
    assert len(person.trials) == before + 1
    return person.trials[-1]


def by_name(person, name):
    """Answers by typing the whole name, and Enter."""

    def act():
        if marked(person) != name:
            search(person, name)
        person.key(Keys.ENTER)

    return answer(person, act)


def by_click(person, name):
    script = "[...document.querySelectorAll('[role=option]')].find((some) => some.textContent === arguments[0])"
    person.browser.execute_script(f"{script}.scrollIntoView({{block: 'center'}})", name)
    return answer(person, lambda: person.browser.execute_script(f"return {script}", name).click())


def check_trial(trial, number, phase, image, response):
    assert (trial["trial_index"], trial["trial_type"], trial["phase"]) == (number, phase, phase)
    assert (trial["stimulus"], trial["response"]) == (image, response)
    assert type(trial["response"]) is int and trial["rt"] >= 400


# ---------------------------------------------------------------- a whole course


@pytest.mark.parametrize("count", [12, 200])
def test_a_person_takes_a_course_of_many_classes(opened, count):
    """Lessons: right by typing, wrong by click, wrong by arrows, right without an explanation. Then the test and two labels."""
    person = opened(count)
    names, lessons = person.course["classes"], person.course["lessons"]
    check_trial(by_name(person, names[0]), 0, "lesson", lessons[0]["image"], 0)
    check_feedback(person, lessons[0], 1, correct=True)
    check_trial(by_click(person, names[3]), 1, "lesson", lessons[1]["image"], 3)
    check_feedback(person, lessons[1], 3, correct=False)
    third = listed(person)[2]
    person.key(Keys.ARROW_DOWN * 3)
    assert marked(person) == third
    check_trial(answer(person, lambda: person.key(Keys.ENTER)), 2, "lesson", lessons[2]["image"], names.index(third))
    check_feedback(person, lessons[2], names.index(third), correct=False)
    check_trial(by_name(person, names[6]), 3, "lesson", lessons[3]["image"], 6)
    check_feedback(person, lessons[3], lessons[3]["answer"], correct=True)
    assert [trial["correct"] for trial in person.trials] == [True, False, False, True]
    person.click("Start the test")
    for number in range(4):
        person.sees(f"Test picture {number + 1} of 4")
        (image,) = person.shown()
        assert image in person.course["test"]
        check_trial(by_name(person, names[number + 5]), 4 + number, "test", image, number + 5)
    person.sees("Test done")
    person.click("Start labelling")
    for number, how in enumerate((by_name, by_click)):
        person.sees(f"{number} picture{'' if number == 1 else 's'} labelled so far")
        (image,) = person.shown()
        assert image in person.course["label"]
        check_trial(how(person, names[-1 - number]), 8 + number, "label", image, count - 1 - number)
    person.sees("2 pictures labelled")
    person.click("Stop here")
    person.sees("Thank you")


def check_feedback(person, lesson, counter, correct):
    """What is shown of a lesson when it is told from class `counter`; then goes on."""
    names = person.course["classes"]
    own, other = names[lesson["label"]], names[counter]
    person.sees("Right: it is" if correct else "Not quite: it is")
    captions = [" ".join(caption.text.split()) for caption in person.all("figcaption")]
    assert captions == [f"This picture {own}", f"For comparison {other}"]
    alts = [image.get_attribute("alt") for image in person.all("main img")]
    if str(counter) in lesson["pairs"]:
        assert person.shown() == list(lesson["pairs"][str(counter)].values())
        assert NO_EXPLANATION not in person.text() and f"{own} and not a" in person.text()
        assert all("a red border around" in alt for alt in alts)
    else:
        assert person.shown() == [lesson["image"], lesson["partners"][str(counter)]]
        assert NO_EXPLANATION in person.text() and "What makes it" not in person.text()
        assert alts == [f"{own}, the whole picture", f"{other}, the whole picture"]
    look(
        person,
        f"many_{len(names)}_{'right' if correct else 'wrong'}_{'pair' if str(counter) in lesson['pairs'] else 'plain'}",
    )
    last = lesson is person.course["lessons"][-1]
    person.click("Finish the lessons" if last else "Next lesson")
    person.sees("Lessons done" if last else "Which kind")


# ---------------------------------------------------------------- finding a class


BY_NAME = ["Admiral", "Bläuling", "Éclair", "Großer Fuchs", "Kleiner Fuchs", "O'Hara's Owl", "Øre", "Öresund Blue"]
BY_NAME += ["Red Admiral", "Ring-billed Gull", "Type 10", "草"]
SEARCHES = (  # what is typed, what is listed, what Enter takes
    ("", BY_NAME, None),
    ("adm", ["Admiral", "Red Admiral"], None),
    ("ADMIRAL", ["Admiral", "Red Admiral"], "Admiral"),
    ("red ad", ["Red Admiral"], "Red Admiral"),
    ("admiral red", ["Red Admiral"], "Red Admiral"),
    ("fuchs", ["Großer Fuchs", "Kleiner Fuchs"], None),
    ("gross", ["Großer Fuchs"], "Großer Fuchs"),
    ("Blau", ["Bläuling"], "Bläuling"),
    ("blä", ["Bläuling"], "Bläuling"),
    ("bla\u0308", ["Bläuling"], "Bläuling"),
    ("blaeu", ["Bläuling"], "Bläuling"),
    ("eclair", ["Éclair"], "Éclair"),
    ("ore", ["Øre", "Öresund Blue"], "Øre"),
    ("oere", ["Öresund Blue"], "Öresund Blue"),
    ("草", ["草"], "草"),
    ("oharas", ["O'Hara's Owl"], "O'Hara's Owl"),
    ("ring billed", ["Ring-billed Gull"], "Ring-billed Gull"),
    ("uchs", ["Großer Fuchs", "Kleiner Fuchs"], None),
    ("f", ["Großer Fuchs", "Kleiner Fuchs"], None),
    ("1", ["Type 10"], "Type 10"),
    ("-", ["Ring-billed Gull"], "Ring-billed Gull"),
    ("  ", BY_NAME, None),
)


def test_what_is_typed_finds_names(opened):
    person = opened(12)
    assert [(typed, search(person, typed), marked(person)) for typed, _, _ in SEARCHES] == list(SEARCHES)
    assert person.trials == []


@pytest.mark.parametrize("count", [12, 200])
def test_what_no_class_is_called_is_said_and_answers_nothing(opened, count):
    person = opened(count)
    time.sleep(0.5)
    assert search(person, "xyz") == [] and marked(person) is None
    assert hint(person) == "No kind is called “xyz”. Type less, or something else."
    assert person.text("#status") == hint(person)
    state = "const box = document.querySelector('[role=combobox]'); return [box.getAttribute('aria-expanded'), box.ariaInvalid]"
    assert person.browser.execute_script(state) == ["false", None]
    person.key(Keys.ENTER + Keys.ARROW_DOWN + Keys.ARROW_UP + Keys.ENTER)
    assert person.trials == []
    person.key(Keys.ESCAPE)
    assert len(listed(person)) == count and hint(person) == f"{count} kinds, by name"
    assert person.browser.execute_script(state) == ["true", None]


def test_enter_takes_none_of_several(opened):
    """Of ten kinds of gulls the first is not more likely than the rest; an arrow key chooses."""
    person = opened(200)
    time.sleep(0.5)
    gulls = search(person, "gull")
    assert gulls == sorted(name for name in NAMES[200] if name.endswith("Gull")) and len(gulls) == 10
    person.key(Keys.ENTER)
    assert person.trials == [] and hint(person) == "10 kinds fit: choose one, or type on"
    person.key(Keys.ARROW_UP)
    assert marked(person) == "Yellow Gull"
    person.key(Keys.ARROW_DOWN)
    assert marked(person) == "Amber Gull"  # round the end
    person.key(Keys.ARROW_DOWN)
    trial = answer(person, lambda: person.key(Keys.ENTER))
    assert trial["response"] == NAMES[200].index("Bearded Gull")


def test_digits_are_typed_and_do_not_answer(opened):
    person = opened(12)
    time.sleep(0.5)
    person.browser.execute_script("document.activeElement.blur()")
    for key in "19":
        person.key(key)
    ActionChains(person.browser).click(person.all("[role=combobox]")[0]).perform()
    assert search(person, "1") == ["Type 10"]
    assert person.trials == []
    person.browser.execute_script("document.getElementById('menu').open = true")
    assert "Keys" not in person.text("#menu") and "Download answers" in person.text("#menu")


def test_a_character_that_is_being_spelt_is_not_taken(opened):
    """Enter that ends the spelling of a Chinese character answers nothing."""
    person = opened(12)
    time.sleep(0.5)
    search(person, "草")
    assert marked(person) == "草"
    script = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: arguments[0], bubbles: true}))"
    person.browser.execute_script(script, True)
    assert person.trials == []
    person.browser.execute_script(script, False)
    assert [trial["response"] for trial in person.trials] == [TWELVE.index("草")]


@pytest.mark.parametrize("count", [9, 10])
def test_nine_classes_have_buttons_and_ten_a_list(opened, count):
    person = opened(count)
    assert len(person.all(".answers button")) == (9 if count == 9 else 0)
    assert len(listed(person)) == (0 if count == 9 else 10)
    if count == 9:
        assert person.answer(8, by_key=True)["response"] == 8


# ---------------------------------------------------------------- keyboard, finger, screen reader


def test_keyboard_only(opened):
    """The box has the focus with every picture, whose list is whole again; Tab leads on to what else there is."""
    person = opened(200)
    names = person.course["classes"]
    assert in_box(person)
    assert by_name(person, names[7])["response"] == 7
    person.sees("Next lesson")
    assert person.browser.switch_to.active_element.tag_name == "h1"
    person.until(lambda: person.key(Keys.ENTER), lambda: "Lesson 2" in person.text(), "lesson 2")
    assert in_box(person) and len(listed(person)) == 200 and marked(person) is None
    assert person.text("#status") == "Lesson 2 of 4"
    show_state(person, {**person.state, "screen": "label"})
    person.sees("labelled so far")
    assert in_box(person)
    person.key(Keys.TAB)
    assert person.browser.switch_to.active_element.text == "Stop here"


def test_a_click_leaves_the_focus_in_the_box(opened):
    person = opened(200)
    option = person.all("[role=option]")[3]
    ActionChains(person.browser).click_and_hold(option).perform()
    assert in_box(person)
    ActionChains(person.browser).release(option).perform()


def test_a_finger_finds_a_class(opened):
    """No keyboard opens over the picture; the box goes to the top when it is touched, and what fits can be tapped under it."""
    person = opened(200, PHONE, touch=True)
    assert not in_box(person)
    place = "return document.querySelector('[role=combobox]').getBoundingClientRect().top"
    assert person.browser.execute_script(place) > 200
    ActionChains(person.browser).click(person.all("[role=combobox]")[0]).perform()
    assert in_box(person) and 0 <= person.browser.execute_script(place) < 40
    assert search(person, "yellow w") == ["Yellow Warbler", "Yellow Wren"]
    look(person, "many_200_phone_typed")
    assert by_click(person, "Yellow Wren")["response"] == NAMES[200].index("Yellow Wren")


def test_a_screen_reader_is_told_what_the_box_is(opened):
    person = opened(200)
    box = person.all("[role=combobox]")[0]
    assert (box.accessible_name, box.aria_role) == ("Which kind of bird is this?", "combobox")
    assert box.get_attribute("aria-controls") == person.all("[role=listbox]")[0].get_attribute("id")
    search(person, "owl")
    assert person.text("#status") == "10 kinds fit: choose one, or type on"
    assert box.get_attribute("aria-describedby") == "hint"


def test_nothing_but_the_list_names_a_class_and_all_its_names_are_alike(opened):
    person = opened(12)
    (image,) = person.all("main img")
    assert image.get_attribute("alt") == "The picture to name"
    script = (
        "const copy = document.documentElement.cloneNode(true); const list = copy.querySelector('[role=listbox]'); list.remove();"
        "return [copy.outerHTML, [...list.children].map((some) => some.outerHTML.replace(some.textContent, '').replace(/kind-[0-9]+/, ''))]"
    )
    rest, options = person.browser.execute_script(script)
    assert not [name for name in TWELVE if name in rest] and len(set(options)) == 1 and len(options) == 12


def test_no_browser_translates_names_that_are_searched(opened):
    """What is typed is looked for among the names as they are: those on the screen must be the same."""
    person = opened(200)
    names = sorted(person.course["classes"])
    assert sorted(namings(person)) == [[name, False] for name in names]
    show_state(person, None)
    person.sees("Learn to tell")
    assert sorted(namings(person)) == [[name, False] for name in names]
    person.click("Start the first lesson")
    by_name(person, names[-1])
    person.sees(NO_EXPLANATION)
    assert len(found := namings(person)) == 2 + 2 + 2 and not any(
        translated for _, translated in found
    )  # verdict, captions, pictures


@pytest.mark.parametrize("count", [12, 200])
def test_every_screen_is_accessible(opened, checker, count):
    """axe at the widths of a desktop and of a phone; nothing is wider than the window, down to 320 pixels."""
    person = opened(count)
    states = {"intro": None, "question": person.state}
    by_name(person, person.course["classes"][-1])
    person.sees(NO_EXPLANATION)
    states["plain"] = person.state
    for name, state in states.items():
        for size, touch in ((DESKTOP, False), (PHONE, True), ((320, 640), True)):
            resize(person.browser, size, touch)
            show_state(person, state)
            look(person, f"many_{count}_{name}", checker)
            if name == "question":
                person.browser.execute_script("document.querySelector('[role=combobox]').focus()")
                for typed in ("r", "xyz"):
                    search(person, typed)
                    look(person, f"many_{count}_{typed}", checker)
            if name == "intro":
                person.browser.execute_script(
                    "document.querySelectorAll('.kinds').forEach((some) => (some.open = true))"
                )
                assert all(kind in person.text() for kind in person.course["classes"])
                look(person, f"many_{count}_intro_open", checker)


# ---------------------------------------------------------------- older course files


def test_where_nothing_is_known_to_compare_with_only_the_right_class_is_told(opened, tmp_path):
    """A course file from before partners: lesson 2 knows that of its own answer, 4, and the explanation against 3."""
    out, course = build_many(tmp_path, "birds", TWELVE, lessons=2, change=lambda entry: entry.pop("partners"))
    person = opened(12, page=SimpleNamespace(out=out, course=course))
    assert "partners" not in course["lessons"][0] and list(course["lessons"][1]["partners"]) == ["4"]
    by_name(person, TWELVE[9])
    person.sees("Not quite: it is a Kleiner Fuchs")
    assert "You answered Admiral" in person.text()
    assert NO_EXPLANATION not in person.text() and "What makes it" not in person.text()
    assert person.shown() == [course["lessons"][0]["image"]]
    person.click("Next lesson")
    person.sees("Which kind")
    by_name(person, TWELVE[2])
    person.sees("Right: it is a Bläuling")
    assert NO_EXPLANATION in person.text()
    assert person.shown() == [course["lessons"][1]["image"], course["lessons"][1]["partners"]["4"]]
    assert [trial["response"] for trial in person.trials] == [9, 2]
