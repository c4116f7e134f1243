// The course: introduction, lessons, test, labelling, end. data.js (window.COURSE) says what to show. Every answer is
// one trial with jsPsych's field names. No inline script or style: the content security policy forbids both.
"use strict";

(() => {
  const COURSE = window.COURSE;
  const main = document.getElementById("main");
  const menu = document.getElementById("menu");
  const status = document.getElementById("status");
  const notice = document.getElementById("notice");
  const progress = document.getElementById("progress");

  const GUARD = 400; // ms in which a new screen ignores presses, such as the second half of a double click
  const BATCH = 50; // trials that the server takes at once
  const PATIENCE = 10000; // ms to wait for the server's answer
  const FIRST_PAUSE = 1000; // ms until a failed request is tried again; doubles each time
  const LONGEST_PAUSE = 30000;
  const KEPT_PICTURES = 60; // decoded pictures in memory
  const NUMBER_KEYS = 9; // up to this many classes have a button and a number key; more are in a searchable list
  const NAMES_SHOWN = 30; // class names that the introduction lists at once
  const NO_SERVER = [403, 404, 405, 410]; // replies of plain web servers and cloud storage to a missing file
  const NOT_NEEDED = "this image has its labels already"; // the server refused an answer, but nothing is lost
  const UNREACHABLE = "The server cannot be reached just now.";
  const NO_ASSIGNMENT = "ASSIGNMENT_ID_NOT_AVAILABLE"; // Mechanical Turk's preview
  const UNPACK = "If it came as a ZIP file, unpack the whole folder first and open index.html in it.";
  const STAYS = "Close the page whenever you like: it goes on where you stopped.";
  const PASS_ON = "Download them and pass the file on to the person who gave you this page.";
  const PARTS = { lesson: "Learn", test: "Test", label: "Label" };

  if (!COURSE) {
    main.replaceChildren(element("p", {}, `The file data.js is missing next to this page. ${UNPACK}`));
    return;
  }

  const FEW = COURSE.classes.length <= NUMBER_KEYS;

  // ---------------------------------------------------------------- helpers

  /** A DOM element with properties, attributes (role, and names with a dash) and children. */
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || name === "role") made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const paragraph = (text, className = "") => element("p", { className }, text);
  const sheet = (...children) => element("div", { className: "sheet" }, ...children);
  const actions = (...children) => element("div", { className: "actions" }, ...children);

  /** A button that ignores the second half of a double click. */
  function button(text, action, className = "") {
    const pressed = () => {
      if (performance.now() >= readyAt) action();
    };
    return element("button", { type: "button", className, onclick: pressed }, text);
  }

  function randomId() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /** FNV-1a, 32 bits: orders pictures differently for every participant, and the same way after a reload. */
  function hash(text) {
    let value = 0x811c9dc5;
    for (const character of text) value = Math.imul(value ^ character.charCodeAt(0), 0x01000193);
    return value >>> 0;
  }

  const count = (number, [one, many]) => `${number} ${number === 1 ? one : many}`;
  const answered = (number) => count(number, ["answer", "answers"]);
  const article = (name) => (/^[aeiou]/i.test(name) ? "an" : "a");

  /** The name of a class. Browsers must not translate it, or buttons, verdicts and captions would differ. */
  function named(number, tag = "span", properties = {}) {
    return element(tag, { ...properties, translate: false }, COURSE.classes[number]);
  }

  const namedWithArticle = (number) => [`${article(COURSE.classes[number])} `, named(number)];

  /** Announces a text to screen readers. */
  function say(text) {
    status.textContent = text;
  }

  function warn(text) {
    notice.textContent = text;
    notice.hidden = false;
  }

  // ---------------------------------------------------------------- Mechanical Turk

  /** Parameters that Mechanical Turk adds to the address of an ExternalQuestion; null elsewhere. Answers are only handed
   * in to Mechanical Turk, or to this computer to try it out. */
  function readTurk() {
    const asked = new URLSearchParams(location.search);
    const assignment = asked.get("assignmentId");
    if (!assignment) return null;
    const site = (asked.get("turkSubmitTo") ?? "").replace(/\/+$/, "");
    const known = /^(https:\/\/([\w-]+\.)*mturk\.com|https?:\/\/(localhost|127\.0\.0\.1)(:\d+)?)$/.test(site);
    return { assignment, target: known ? `${site}/mturk/externalSubmit` : null };
  }

  const turk = readTurk();
  const preview = turk?.assignment === NO_ASSIGNMENT;

  // ---------------------------------------------------------------- memory

  const KEY = `memorable-course:${COURSE.build_id}${turk ? `:${turk.assignment}` : ""}`;
  const storage = openStorage();
  let state = null; // read below, once everything is defined

  /** The browser's storage; null if we cannot use it (private windows, blocked cookies, some frames). */
  function openStorage() {
    try {
      window.localStorage.setItem(`${KEY}:probe`, "1");
      window.localStorage.removeItem(`${KEY}:probe`);
      return window.localStorage;
    } catch {
      return null;
    }
  }

  function newState() {
    const answers = { trials: [], unsent: [], untaken: [] };
    return { participant: null, server: false, screen: "intro", ...answers, labelledAll: false, keys: true };
  }

  function readState() {
    try {
      const kept = JSON.parse(storage.getItem(KEY));
      if (Array.isArray(kept.trials) && kept.screen in SCREENS) return { ...newState(), ...kept };
    } catch {
      // nothing kept, or unreadable
    }
    return newState();
  }

  function save() {
    try {
      if (storage && !preview) storage.setItem(KEY, JSON.stringify(state));
    } catch {
      warn("This browser's memory is full: download your answers before you close or reload the page.");
    }
    showState();
  }

  const trialsOf = (phase) => state.trials.filter((trial) => trial.phase === phase);

  /** The unanswered pictures of a part, in this participant's order. */
  function remaining(phase) {
    const done = new Set(trialsOf(phase).map((trial) => trial.stimulus));
    const all = phase === "lesson" ? COURSE.lessons.map((lesson) => lesson.image) : ordered(phase);
    return all.filter((image) => !done.has(image));
  }

  function ordered(phase) {
    const place = new Map(COURSE[phase].map((image) => [image, hash(state.participant + image)]));
    return [...COURSE[phase]].sort((one, other) => place.get(one) - place.get(other));
  }

  let since = performance.now(); // the last answer, or when this page took up the kept state

  /** Records an answer. Times do not depend on the clock, and do not include time with the page closed. */
  function record(asked, response) {
    const lesson = COURSE.lessons.find((some) => some.image === asked.image);
    const before = state.trials.length ? state.trials[state.trials.length - 1].time_elapsed : 0;
    const trial = {
      trial_id: randomId(),
      trial_index: state.trials.length,
      trial_type: asked.phase,
      phase: asked.phase,
      time_elapsed: before + Math.round(performance.now() - since),
      rt: Math.round(performance.now() - asked.shown),
      stimulus: asked.image,
      response,
      ...(asked.phase === "lesson" ? { correct: response === lesson.label } : {}),
      build_id: COURSE.build_id,
    };
    state.trials.push(trial);
    since = performance.now();
    if (state.server) state.unsent.push(trial.trial_id);
  }

  function download() {
    const { participant, trials } = state;
    const answers = { build_id: COURSE.build_id, dataset: COURSE.dataset, participant, trials };
    const content = new Blob([JSON.stringify(answers, null, 1)], { type: "application/json" });
    const href = URL.createObjectURL(content);
    element("a", { href, download: `answers_${COURSE.build_id}_${participant}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
    say("Your answers are being downloaded.");
  }

  // ---------------------------------------------------------------- the collecting server

  let sending = null; // the promise of the current sending: one at a time
  let pause = FIRST_PAUSE; // ms until the next try
  let again = show; // what the trouble screen tries again
  let nextTry = null; // its timer
  let trouble = ""; // why the last try failed
  let refused = ""; // the server's reason to refuse this participant for good

  /** Status and JSON object of the answer at `path`; null for anything else, such as a proxy's page. */
  async function reach(path, body) {
    const headers = { "Content-Type": "application/json" };
    const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : {};
    try {
      const reply = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      const content = await reply.json().catch(() => null);
      return { status: reply.status, content: typeof content === "object" ? content : null };
    } catch {
      throw new Error(UNREACHABLE);
    }
  }

  /** The content of a collecting server's reply; an error for any other reply. */
  function contentOf({ status, content }) {
    if (content === null) throw new Error(UNREACHABLE);
    if (status !== 200) throw new Error(content.error || `The server answered ${status}.`);
    return content;
  }

  async function ask(path, body) {
    const { participant } = state;
    const reply = await reach(path, body);
    if (reply.status === 403 && participant === state.participant) refused = reply.content?.error ?? "";
    return contentOf(reply);
  }

  /** True if a collecting server sent the page. A failing server is an error, not "no server": otherwise the answers would
   * stay in the browser. */
  async function findServer() {
    if (turk || !/^https?:$/.test(location.protocol)) return false;
    const reply = await reach("api/hello");
    if (NO_SERVER.includes(reply.status) || (reply.status === 200 && !reply.content?.build_id)) return false;
    if (contentOf(reply).build_id === COURSE.build_id) return true;
    throw new Error("The server collects answers to another build of this page: reload the page.");
  }

  /** Sends unsent trials. A trial counts as sent once the server has stored or refused it. */
  function send() {
    if (!state.server || refused) return Promise.resolve();
    sending ??= sendAll().finally(() => {
      sending = null;
      showState();
    });
    return sending;
  }

  async function sendAll() {
    try {
      while (state.unsent.length) {
        const batch = state.trials.filter((trial) => state.unsent.includes(trial.trial_id)).slice(0, BATCH);
        const reply = await ask("api/trials", { participant: state.participant, trials: batch });
        const settled = new Set([...reply.stored, ...Object.keys(reply.refused)]);
        if (!batch.some((trial) => settled.has(trial.trial_id))) throw new Error("The server confirmed no answers.");
        state.unsent = state.unsent.filter((id) => !settled.has(id));
        state.untaken.push(...Object.keys(reply.refused).filter((id) => reply.refused[id] !== NOT_NEEDED));
        pause = FIRST_PAUSE;
        save();
      }
      trouble = "";
    } catch (error) {
      trouble = error.message;
      if (refused) show();
      else tryLater();
    }
  }

  /** Tries again after a pause that grows until something succeeds. */
  function tryLater() {
    nextTry ??= setTimeout(() => {
      nextTry = null;
      tryNow();
    }, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }

  function tryNow() {
    if (main.querySelector("#trouble")) again(true);
    else send();
  }

  /** The next picture to label: from the server, or the next in this participant's order. Null: none is left. */
  async function nextToLabel() {
    if (!state.server) return remaining("label")[0] ?? null;
    await send(); // the server hands out a picture only once it has the answer to the last one
    if (state.unsent.length) throw new Error(trouble);
    const { image } = await ask("api/next", { participant: state.participant });
    return image;
  }

  // ---------------------------------------------------------------- pictures

  const pictures = new Map(); // id -> promise of the decoded image
  const JPG = new Set(COURSE.jpg); // ids of the JPEG files; all others are PNG

  function load(id) {
    if (!pictures.has(id)) {
      const src = `images/${id}.${JPG.has(id) ? "jpg" : "png"}`;
      const image = element("img", { src, alt: "", draggable: false });
      const ready = image.decode().then(
        () => image,
        () => {
          pictures.delete(id);
          const local = location.protocol === "file:" ? ` The folder "images" may be missing. ${UNPACK}` : "";
          throw new Error(`A picture could not be loaded.${local}`);
        },
      );
      pictures.set(id, ready);
      if (pictures.size > KEPT_PICTURES) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(id);
  }

  function preload(ids) {
    for (const id of ids) load(id).catch(() => {}); // tried again when it is needed
  }

  /** Resolves with the time at which the latest change of the page is on the screen. */
  function painted() {
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))));
  }

  function frame(picture, description) {
    picture.alt = description;
    return element("span", { className: "frame" }, picture);
  }

  /** A picture that opens in a tab of its own: on a phone, those of a pair are small. */
  function enlargeable(picture, description) {
    const hint = element("span", { className: "visually-hidden" }, "Enlarge: ");
    const properties = { href: picture.src, target: "_blank", className: "enlarge", translate: false };
    return element("a", properties, hint, frame(picture, description));
  }

  // ---------------------------------------------------------------- from screen to screen

  let turn = 0; // counts calls of show(): a screen that is ready too late is dropped
  let readyAt = 0; // time from which this screen's buttons work
  let asked = null; // the question on the screen: phase, image, shown

  /** Shows the current screen. `byItself`: nobody pressed anything, so the old screen stays until the new one is ready. */
  async function show(byItself = false) {
    const mine = ++turn;
    asked = null;
    if (!byItself) main.classList.add("waiting");
    try {
      const screen = await (refused ? refusedScreen : SCREENS[state.screen])();
      if (mine !== turn || !screen) return;
      if (main.querySelector("#trouble")) pause = FIRST_PAUSE;
      main.replaceChildren(screen.content);
      document.title = `${screen.title} – Course: ${COURSE.things[1]}`;
      showSteps(screen.part, screen.done, screen.total);
      showState();
      window.scrollTo(0, 0);
      const heading = main.querySelector("h1");
      heading.tabIndex = -1;
      if (screen.focus) screen.focus.focus({ preventScroll: true });
      else if (mine > 1) heading.focus({ preventScroll: true });
      say(screen.said ?? "");
      main.classList.remove("waiting");
      readyAt = Infinity;
      const shown = await painted();
      if (mine !== turn) return;
      readyAt = shown + GUARD;
      asked = screen.asks ? { ...screen.asks, shown } : null;
      preload(screen.next ?? []);
    } catch (error) {
      if (mine === turn) showTrouble(error);
    } finally {
      if (mine === turn) main.classList.remove("waiting");
    }
  }

  function go(screen) {
    state.screen = screen;
    save();
    show();
  }

  /** Says what failed. It is tried again, by itself and on request; nothing is lost. */
  function showTrouble(error, retry = show) {
    if (refused) return show();
    again = retry;
    tryLater();
    readyAt = performance.now() + GUARD;
    if (main.querySelector("#trouble")?.dataset.reason === error.message) return; // a screen reader would start again
    const kept = state.trials.length ? "Your answers are kept. " : "";
    const text = `${error.message} ${kept}The page tries again by itself, or at once if you press the button.`;
    const stop = state.screen === "label" ? button("Stop here", () => go("end")) : null;
    const heading = element("h1", { tabIndex: -1 }, "One moment");
    const content = sheet(heading, paragraph(text), actions(button("Try again", () => again(), "primary"), stop));
    content.id = "trouble";
    content.dataset.reason = error.message;
    say("");
    main.replaceChildren(content);
    heading.focus();
  }

  const parts = () => Object.keys(PARTS).filter((part) => part === "lesson" || COURSE[part].length > 0);

  function showSteps(part, done = 0, total = 1) {
    const all = parts();
    const place = part === "end" ? all.length : all.indexOf(part);
    const items = all.map((name, number) => {
      const item = element("li", {}, number < place ? `✓ ${PARTS[name]}` : PARTS[name]);
      if (number === place) item.setAttribute("aria-current", "step");
      return item;
    });
    document.getElementById("steps").replaceChildren(...items);
    progress.max = total;
    progress.value = part === "end" ? total : done;
  }

  /** The screen after a part is finished. */
  function after(part) {
    const following = parts()[parts().indexOf(part) + 1];
    return following ? `${following}-intro` : "end";
  }

  // ---------------------------------------------------------------- answers to choose from

  const TOUCH = window.matchMedia("(hover: none) and (pointer: coarse)");
  const { compare } = new Intl.Collator("en", { numeric: true });

  /** The numbers of the classes as people see them: a few in their own order, many sorted by name. */
  const ORDER = FEW
    ? [...COURSE.classes.keys()]
    : [...COURSE.classes.keys()].sort((one, other) => compare(COURSE.classes[one], COURSE.classes[other]));

  /** One button per class. With many classes they are in a list that scrolls, below a box to search in. The list is the same
   * for every picture: a shorter one with the true class would reveal it. */
  function answerChoices() {
    const buttons = ORDER.map((number) => {
      const key = FEW ? element("kbd", { "aria-hidden": "true" }, String(number + 1)) : null;
      return element("button", { type: "button", onclick: () => answer(number) }, key, named(number));
    });
    const list = element("div", { className: "answers", role: "group", "aria-label": "Your answer" }, ...buttons);
    if (FEW) return list;
    const hint = element("p", { id: "hint", className: "soft" }, hintFor("", ORDER.length));
    const described = { "aria-labelledby": "question", "aria-describedby": "hint" };
    const placeholder = "Type a part of its name";
    const box = element("input", { placeholder, autocomplete: "off", spellcheck: false, ...described });
    const search = () => {
      const { found } = matching(box.value);
      list.replaceChildren(...found.map((number) => buttons[ORDER.indexOf(number)]));
      list.scrollTop = 0;
      hint.textContent = hintFor(box.value.trim(), found.length);
      say(hint.textContent);
    };
    box.addEventListener("input", search);
    box.addEventListener("keydown", (event) => {
      if (event.isComposing || event.repeat) return; // Enter may end the composition of a Chinese character
      const { meant } = matching(box.value);
      if (event.key === "Enter" && meant !== null) answer(meant);
      else if (event.key === "Enter") say(hint.textContent);
      else if (event.key === "Escape") {
        box.value = "";
        search();
      }
    });
    return element("div", { className: "searched" }, box, hint, list);
  }

  /** A text as it is searched: lower case without accents and apostrophes, one space for dots, dashes and spaces. */
  function folded(text) {
    const plain = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
    return plain.replace(/['’]/g, "").replace(/[\p{P}\s]+/gu, " ").trim();
  }

  const NAMES = COURSE.classes.map(folded);

  /** The classes that contain all typed words; `meant` is the exact or only match, or null. */
  function matching(typed) {
    const wanted = folded(typed);
    const found = ORDER.filter((number) => wanted.split(" ").every((word) => NAMES[number].includes(word)));
    const same = found.filter((number) => NAMES[number] === wanted);
    return { found, meant: same.length === 1 ? same[0] : found.length === 1 ? found[0] : null };
  }

  function hintFor(typed, number) {
    if (typed === "") return `${number} kinds, by name`;
    if (number === 0) return `No kind is called “${typed}”. Type less, or something else.`;
    return number === 1 ? "1 kind fits: press Enter, or choose it" : `${number} kinds fit: choose one, or type on`;
  }

  // ---------------------------------------------------------------- screens

  async function introScreen() {
    preload([COURSE.lessons[0].image, ...comparedPictures(COURSE.lessons[0])]);
    state.server = await findServer();
    const [one, many] = COURSE.things;
    const start = button("Start the first lesson", begin, "primary");
    start.disabled = preview;
    const stages = [
      `${count(COURSE.lessons.length, ["lesson", "lessons"])}. After each answer you see the right kind.`,
      `${count(COURSE.test.length, ["picture", "pictures"])}, without feedback.`,
      "As many more pictures as you like. Stop at any time.",
    ];
    const items = parts().map((part, number) =>
      element("li", {}, element("strong", {}, `${PARTS[part]}: `), stages[number]),
    );
    const content = sheet(
      element("h1", {}, `Learn to tell ${COURSE.classes.length} kinds of ${many} apart`),
      preview ? paragraph("This is a preview. Accept the HIT to start.", "callout") : null,
      paragraph(`Say for each picture which kind of ${one} it shows. At first you can only guess.`, "lead"),
      kinds(),
      element("ol", {}, ...items),
      legend(),
      paragraph(`${whereAnswersGo()} ${storage ? STAYS : ""}`, "soft"),
      actions(start),
    );
    return { content, title: "Introduction", part: "lesson" };
  }

  /** The names of the classes. Many of them are folded away, because the start button would be far below. */
  function kinds() {
    const names = element("ul", { className: "names" }, ...ORDER.map((number) => named(number, "li")));
    const summary = element("summary", {}, `The ${ORDER.length} kinds`);
    return element("details", { open: ORDER.length <= NAMES_SHOWN }, summary, names);
  }

  function legend() {
    const shown = "In a lesson, you then see the picture next to one of another kind";
    if (COURSE.lessons.every((lesson) => Object.keys(lesson.pairs).length === 0)) {
      return element("p", {}, `${shown}, to compare the two.`);
    }
    const marked = COURSE.borders
      ? "The red border marks the part that tells the two apart."
      : "Only the part that tells the two apart is visible; the rest is painted over.";
    return element("p", {}, `${shown}. ${marked}`);
  }

  function whereAnswersGo() {
    const what = "We record your answers and how long each one took, and nothing about you.";
    if (turk) return `${what} They are handed in with the assignment at the end.`;
    if (state.server) return `${what} They go to the server of this study.`;
    return `${what} They stay in this browser until you download them.`;
  }

  async function begin() {
    if (preview) return;
    readyAt = Infinity; // one participant, however often the button is pressed
    const mine = ++turn;
    try {
      const participant = state.server ? (await ask("api/join", {})).participant : randomId();
      if (mine !== turn) return;
      state.participant = participant;
    } catch (error) {
      if (mine === turn) showTrouble(error, begin);
      return;
    }
    since = performance.now();
    go("lesson");
  }

  /** A question: the picture and the classes. */
  async function questionScreen(phase, image, heading, extra = null) {
    const following = remaining(phase).filter((id) => id !== image).slice(0, 3);
    const picture = await load(image);
    const choices = answerChoices();
    const question = `Which kind of ${COURSE.things[0]} is this?`;
    const eyebrow = paragraph(heading, "soft");
    const content = element(
      "div",
      { className: FEW ? "question" : "question many" },
      frame(picture, "The picture to name"),
      element("div", { className: "question-head" }, eyebrow, element("h1", { id: "question" }, question)),
      choices,
      extra,
    );
    // With a keyboard, people type at once. On a phone that would open its keyboard over the picture.
    const focus = FEW || TOUCH.matches ? null : choices.querySelector("input");
    return { content, title: heading, said: heading, part: phase, asks: { phase, image }, next: following, focus };
  }

  function answer(response) {
    if (!asked || performance.now() < asked.shown + GUARD) return;
    const { phase } = asked;
    record(asked, response);
    asked = null;
    if (phase !== "label") send(); // while labelling, the next screen sends
    if (phase === "lesson") go("feedback");
    else go(phase !== "label" && remaining(phase).length === 0 ? after(phase) : phase);
  }

  async function lessonScreen() {
    const [image] = remaining("lesson");
    if (image === undefined) return go(after("lesson"));
    const place = COURSE.lessons.findIndex((lesson) => lesson.image === image);
    const total = COURSE.lessons.length;
    const screen = await questionScreen("lesson", image, `Lesson ${place + 1} of ${total}`);
    return { ...screen, done: place, total, next: [...comparedPictures(COURSE.lessons[place]), ...screen.next] };
  }

  /** The pictures shown after a lesson that compare with class `counter`: the explained pair, or two plain pictures, or null. */
  function comparison(lesson, counter) {
    if (counter in lesson.pairs) return { ...lesson.pairs[counter], explained: true };
    const partner = lesson.partners?.[counter];
    return partner === undefined ? null : { image: lesson.image, partner, explained: false };
  }

  /** The pictures that may come after a lesson's answer; with many classes, only those of the right answer. */
  function comparedPictures(lesson) {
    const shown = (FEW ? ORDER : [lesson.answer]).map((counter) => comparison(lesson, counter));
    return shown.filter((pair) => pair !== null).flatMap((pair) => [pair.image, pair.partner]);
  }

  async function feedbackScreen() {
    const trials = trialsOf("lesson");
    const { stimulus, response, correct } = trials[trials.length - 1];
    const lesson = COURSE.lessons.find((some) => some.image === stimulus);
    const verdict = element("h1", {}, correct ? "Right: it is " : "Not quite: it is ", ...namedWithArticle(lesson.label), ".");
    const wrong = correct ? null : element("p", {}, "You answered ", named(response), ".");
    const last = remaining("lesson").length === 0;
    const content = element(
      "div",
      { className: "feedback" },
      element("div", { className: `verdict ${correct ? "right" : "wrong"}` }, element("div", {}, verdict, wrong)),
      // A wrong answer is compared with that class; a right one with the student's own counter class.
      ...(await compared(lesson, correct ? lesson.answer : response)),
      actions(button(last ? "Finish the lessons" : "Next lesson", () => go("lesson"), "primary")),
    );
    const [done, total] = [trials.length, COURSE.lessons.length];
    return { content, title: `Lesson ${done} of ${total}, answer`, part: "lesson", done, total };
  }

  /** The pictures after a lesson's answer, side by side below a line that says what to look for. */
  async function compared(lesson, counter) {
    const pair = comparison(lesson, counter);
    const own = lesson.label;
    // Both first: a plain picture is the one on the screen, and leaves it when it is put into the next.
    const [image, partner] = await Promise.all((pair ? [pair.image, pair.partner] : [lesson.image]).map(load));
    const described = (shown, against) => {
      const [name, other] = [COURSE.classes[shown], COURSE.classes[against]];
      if (!pair?.explained) return `${name}, the whole picture`;
      const marked = COURSE.borders ? "a red border around" : "only";
      return `${name}, with ${marked} the part that tells it apart from ${article(other)} ${other}`;
    };
    const captioned = (picture, note, shown, against) => {
      const caption = element("figcaption", {}, element("span", {}, note), named(shown, "strong"));
      return element("figure", {}, enlargeable(picture, described(shown, against)), caption);
    };
    const first = captioned(image, "This picture", own, counter);
    if (pair === null) return [element("div", { className: "pair" }, first)];
    const reason = pair.explained
      ? ["What makes it ", ...namedWithArticle(own), " and not ", ...namedWithArticle(counter)]
      : ["No explanation was made for this pair; compare the whole pictures."];
    const second = captioned(partner, "For comparison", counter, own);
    return [element("p", { className: "reason" }, ...reason), element("div", { className: "pair" }, first, second)];
  }

  async function testIntroScreen() {
    const right = trialsOf("lesson").filter((trial) => trial.correct).length;
    const content = sheet(
      element("h1", {}, "Lessons done. Now a short test"),
      paragraph(`You were right in ${right} of ${COURSE.lessons.length} lessons.`, "lead"),
      paragraph(`Next come ${count(COURSE.test.length, ["new picture", "new pictures"])}, without feedback.`),
      paragraph("Answer as well as you can. If you are unsure, take your best guess."),
      actions(button("Start the test", () => go("test"), "primary")),
    );
    return { content, title: "Test", part: "test", total: COURSE.test.length, next: remaining("test").slice(0, 2) };
  }

  async function testScreen() {
    const [image] = remaining("test");
    if (image === undefined) return go(after("test"));
    const done = trialsOf("test").length;
    const total = COURSE.test.length;
    return { ...(await questionScreen("test", image, `Test picture ${done + 1} of ${total}`)), done, total };
  }

  async function labelIntroScreen() {
    const content = sheet(
      element("h1", {}, "Test done. Now your knowledge helps"),
      paragraph(`The next pictures have no name yet. Say which kind of ${COURSE.things[0]} each one shows.`, "lead"),
      paragraph("Stop whenever you want. Everything that you have labelled by then counts."),
      actions(button("Start labelling", () => go("label"), "primary"), button("Stop here", () => go("end"))),
    );
    return { content, title: "Labelling", part: "label", done: trialsOf("label").length, total: COURSE.label.length };
  }

  async function labelScreen() {
    const image = await nextToLabel();
    state.labelledAll = image === null;
    if (image === null) return go("end");
    const done = trialsOf("label").length;
    const stop = actions(button("Stop here", () => go("end")));
    const screen = await questionScreen("label", image, `${count(done, ["picture", "pictures"])} labelled so far`, stop);
    return { ...screen, done, total: COURSE.label.length, next: state.server ? [] : screen.next };
  }

  async function endScreen() {
    const labelled = trialsOf("label").length;
    // The server may have a picture later: one that somebody was shown and did not answer.
    const more = (state.server || !state.labelledAll) && remaining("label").length > 0;
    const right = trialsOf("lesson").filter((trial) => trial.correct).length;
    const labels = COURSE.label.length ? ` You labelled ${count(labelled, ["picture", "pictures"])}.` : "";
    const facts = `You were right in ${right} of ${COURSE.lessons.length} lessons.${labels}`;
    const label = state.labelledAll ? "Ask for more pictures" : labelled ? "Go on labelling" : "Label pictures";
    const wait = "No picture is available right now. Try again in a few minutes.";
    const takeHome = button("Download your answers", download, "primary");
    takeHome.id = "take-home";
    const content = sheet(
      element("h1", {}, turk ? "Done. Now hand in your answers" : "Thank you, you are done"),
      paragraph(facts, "lead"),
      element("p", { id: "hand-in" }, handInText()),
      more && state.labelledAll ? paragraph(wait) : null,
      actions(
        turk ? submitForm() : takeHome,
        more ? button(label, () => go("label")) : null,
        turk ? null : startOver(),
      ),
    );
    return { content, title: "Done", part: "end" };
  }

  /** The study is full, or the server does not know this participant (new database). No retry. */
  async function refusedScreen() {
    const known = state.participant !== null;
    const kept = `Your ${count(state.trials.length, ["answer is", "answers are"])} kept in this browser.`;
    const content = sheet(
      element("h1", {}, known ? "The server does not know you any more" : refused),
      element("p", {}, known ? `${kept} ${PASS_ON}` : "Thank you for coming. You can close the page."),
      known ? actions(button("Download your answers", download, "primary"), startOver()) : null,
    );
    return { content, title: "Closed", part: null };
  }

  function handInText() {
    const total = answered(state.trials.length);
    const { length: untaken } = state.untaken;
    if (turk && !turk.target) return "The address of this page does not say where to hand in; open it from Mechanical Turk.";
    if (turk) return `${total} will be handed in.`;
    if (!state.server) return `Your ${total} are kept in this browser. ${PASS_ON}`;
    if (state.unsent.length) {
      const reason = trouble ? ` The last try failed: ${trouble}` : "";
      return `${state.unsent.length} of ${total} are still on their way to the server: please leave the page open.${reason}`;
    }
    if (untaken) return `The server did not take ${untaken} of ${total}. ${PASS_ON}`;
    return `All ${total} have reached the server. You can close the page.`;
  }

  /** The form that Mechanical Turk expects of an ExternalQuestion. */
  function submitForm() {
    const fields = { assignmentId: turk.assignment, build_id: COURSE.build_id, trials: JSON.stringify(state.trials) };
    const inputs = Object.entries(fields).map(([name, value]) => element("input", { type: "hidden", name, value }));
    const disabled = turk.target === null;
    const submit = element("button", { type: "submit", className: "primary", disabled }, "Submit to Mechanical Turk");
    const onsubmit = () => setTimeout(() => (submit.disabled = true));
    return element("form", { method: "post", action: turk.target ?? "", onsubmit }, ...inputs, submit);
  }

  /** For computers that several people use. */
  function startOver() {
    return button("Start again as another person", () => {
      const missing = state.server && !refused ? state.unsent.length + state.untaken.length : state.trials.length;
      const lost = `${answered(missing)} would be lost. Download your answers first.`;
      const text = missing ? lost : "This browser forgets your answers; the server has them.";
      if (!window.confirm(`${text}\n\nRemove my answers and start again?`)) return;
      state = newState();
      storage?.removeItem(KEY);
      location.reload();
    });
  }

  const SCREENS = {
    intro: introScreen,
    lesson: lessonScreen,
    feedback: feedbackScreen,
    "test-intro": testIntroScreen,
    test: testScreen,
    "label-intro": labelIntroScreen,
    label: labelScreen,
    end: endScreen,
  };

  // ---------------------------------------------------------------- menu and keys

  /** Updates what depends on the state next to the screen: the menu, the key hints, and how many answers were sent. */
  function showState() {
    menu.hidden = state.participant === null;
    document.body.classList.toggle("no-keys", !state.keys);
    const handIn = document.getElementById("hand-in");
    if (handIn) handIn.textContent = handInText();
    const takeHome = document.getElementById("take-home");
    if (takeHome) takeHome.hidden = state.server && state.untaken.length === 0;
  }

  menu.addEventListener("toggle", () => {
    const keys = element("input", { type: "checkbox", checked: state.keys });
    keys.addEventListener("change", () => {
      state.keys = keys.checked;
      save();
    });
    const kept = storage ? STAYS : "This browser cannot keep your answers when the page is reloaded.";
    document.getElementById("menu-panel").replaceChildren(
      paragraph(`${answered(state.trials.length)} so far. ${kept}`),
      element("button", { type: "button", onclick: download }, "Download answers"),
      ...(FEW ? [element("label", {}, keys, `Keys 1 to ${COURSE.classes.length} answer`)] : []),
      ...(turk ? [] : [startOver()]),
    );
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
      return;
    }
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || menu.open) return;
    const number = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    const next = main.querySelector("button.primary:not([hidden])");
    if (FEW && number && state.keys && number <= COURSE.classes.length) answer(number - 1);
    else if (event.key === "Enter" && !event.target.closest("a, button, input, summary")) next?.click();
  });

  // ---------------------------------------------------------------- other tabs, start

  // Another tab of the same course went on: follow it, or the two would overwrite each other's answers.
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY || preview) return;
    const { participant } = state;
    state = readState();
    since = performance.now();
    if (state.participant !== participant) location.reload();
    else show();
  });

  // A page that the back button restores from memory may have missed another tab's answers.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && storage && !preview) location.reload();
  });

  window.addEventListener("online", tryNow);
  window.addEventListener("beforeunload", (event) => {
    if (!storage && !turk && state.trials.length) event.preventDefault();
  });

  state = readState();
  if (!storage && !preview) {
    warn("This browser cannot keep your answers: download them before you close or reload the page.");
  }
  show();
  send();
})();
