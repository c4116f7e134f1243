// The course: introduction, lessons, test, labeling, end. data.js (window.COURSE) says what to show, in which words.
// Every answer is one trial with jsPsych's field names. The content security policy forbids inline scripts and styles.
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
  const MOST_PARAMETERS = 20; // of the address, with names and values of at most LONGEST_PARAMETER characters
  const LONGEST_PARAMETER = 200;
  const LONGEST_COMMENT = 2000; // characters
  const NO_ASSIGNMENT = "ASSIGNMENT_ID_NOT_AVAILABLE"; // Mechanical Turk's preview
  const PARTS = ["lesson", "test", "label"];
  const LEARNING = 5; // lessons of a person that say nothing about them yet; those after it have half the weight
  const SHRINK = 20; // answers per class that the prior of a person's confusions is worth

  if (!COURSE) {
    const missing = "Files of this page are missing. Please unzip the whole folder first, then open index.html in it.";
    main.replaceChildren(element("p", {}, missing));
    return;
  }

  const [THING, THINGS] = COURSE.things;
  const FEW = COURSE.classes.length <= NUMBER_KEYS;
  const PASS = COURSE.pass; // the pass mark and what it needs, or null
  const PERCENT = PASS && Math.round(100 * PASS.mark);
  const EXTRA = COURSE.extra.map((lesson) => lesson.image);
  const lessonOf = (image) => [...COURSE.lessons, ...COURSE.extra].find((lesson) => lesson.image === image);

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

  const paragraph = (sentence, className = "") => element("p", { className }, sentence);
  const sheet = (...children) => element("div", { className: "sheet" }, ...children);
  const actions = (...children) => element("div", { className: "actions" }, ...children);

  /** A button that ignores the second half of a double click. */
  function button(words, action, className = "") {
    const pressed = () => {
      if (performance.now() >= readyAt) action();
    };
    return element("button", { type: "button", className, onclick: pressed }, words);
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

  /** A sentence of data.js, split where {placeholders} become strings or elements. `n` chooses from a pair: one, many. */
  function pieces(key, values = {}) {
    const sentence = COURSE.text[key];
    const template = Array.isArray(sentence) ? sentence[values.n === 1 ? 0 : 1] : sentence;
    return template.split(/\{(\w+)\}/).map((piece, place) => (place % 2 ? values[piece] : piece));
  }

  const text = (key, values) => pieces(key, values).join("");

  /** The name of a class. Browsers must not translate it, or buttons, verdicts and captions would differ. */
  function named(number, tag = "span", properties = {}) {
    return element(tag, { ...properties, translate: false }, COURSE.classes[number]);
  }

  /** Announces a sentence to screen readers. */
  function say(sentence) {
    status.textContent = sentence;
  }

  function warn(sentence) {
    notice.textContent = sentence;
    notice.hidden = false;
  }

  // ---------------------------------------------------------------- where people come from

  /** The parameters of the page's address, such as Prolific's PROLIFIC_PID, STUDY_ID and SESSION_ID. */
  function readParameters() {
    const short = (pair) => pair.every((part) => part.length <= LONGEST_PARAMETER);
    return Object.fromEntries([...new URLSearchParams(location.search)].filter(short).slice(0, MOST_PARAMETERS));
  }

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

  const parameters = readParameters();
  const turk = readTurk();
  const preview = turk?.assignment === NO_ASSIGNMENT;

  // ---------------------------------------------------------------- memory

  const identity = turk?.assignment ?? parameters.PROLIFIC_PID ?? parameters.workerId;
  const KEY = `memorable-course:${COURSE.build_id}${identity ? `:${identity}` : ""}`;
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
    const study = { server: false, study: false, parameters, consent: null, deletion: "" };
    const end = { labeledAll: false, passed: true, comment: "", finished: null };
    return { participant: null, ...study, screen: "intro", ...answers, ...end, keys: true };
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
      warn(text("memory_full"));
    }
    showState();
  }

  const trialsOf = (phase) => state.trials.filter((trial) => trial.phase === phase);

  function answersTo(images) {
    const some = new Set(images);
    return state.trials.filter((trial) => some.has(trial.stimulus));
  }

  /** The pictures of a part; after a failed first test those of its second round. How many are answered, of how many. */
  function round(part) {
    const again = failed(COURSE.test);
    const first = { lesson: COURSE.lessons.map((lesson) => lesson.image), test: COURSE.test, label: COURSE.label };
    const images = (again && { lesson: EXTRA, test: PASS.test }[part]) || first[part];
    const done = answersTo(images).length;
    return { again, images, done, total: again && part === "lesson" ? PASS.shown : images.length };
  }

  /** The unanswered pictures of a part, in this participant's order; the next extra lesson, which depends on the answers. */
  function remaining(part) {
    const { again, images, done, total } = round(part);
    if (again && part === "lesson") return done < total ? [nextExtra()] : [];
    const answered = new Set(state.trials.map((trial) => trial.stimulus));
    const left = images.filter((image) => !answered.has(image));
    const place = new Map(left.map((image) => [image, hash(state.participant + image)]));
    return part === "lesson" ? left : left.sort((one, other) => place.get(one) - place.get(other));
  }

  let since = performance.now(); // the last answer, or when this page took up the kept state

  /** Records an answer. Times do not depend on the clock, and do not include time with the page closed. */
  function record(asked, response) {
    const lesson = lessonOf(asked.image);
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
    const { build_id, dataset } = COURSE;
    const { participant, parameters, consent, comment, trials } = state;
    const answers = JSON.stringify({ build_id, dataset, participant, parameters, consent, comment, trials }, null, 1);
    const content = new Blob([answers], { type: "application/json" });
    const href = URL.createObjectURL(content);
    element("a", { href, download: `answers_${build_id}_${participant}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
    say(text("downloading"));
  }

  // ---------------------------------------------------------------- pass mark

  /** The class of a test picture. The page has only digests, and checks each class in turn, after the answer. This keeps
   * honest people from reading the classes by accident, no more. */
  function truthOf(image) {
    return COURSE.classes.findIndex((_, number) => hash(`${image} ${number}`) === PASS.checks[image]);
  }

  const isRight = (trial) => trial.response === truthOf(trial.stimulus);

  /** True if every picture of a test is answered, and too few answers are right. */
  function failed(test) {
    if (!PASS) return false;
    const trials = answersTo(test);
    return trials.length === test.length && trials.filter(isRight).length / test.length < PASS.mark;
  }

  /** The next extra lesson: the first one left of the two classes that this person confuses most (Johns et al., CVPR
   * 2015). A person's confusion matrix is shrunk towards the prior of utils/people/aggregation.py; what exceeds the prior
   * counts. It is divided by the pair's lessons so far plus one, so that all confused pairs get their share. */
  function nextExtra() {
    const off = Math.min(1, 4 / (COURSE.classes.length - 1));
    const prior = (own, other) => (own === other ? 5 : off) / (5 + off * (COURSE.classes.length - 1));
    const known = COURSE.classes.map((_, own) => COURSE.classes.map((_, other) => SHRINK * prior(own, other)));
    const total = COURSE.classes.map(() => SHRINK);
    const note = (truth, response, weight) => {
      known[truth][response] += weight;
      total[truth] += weight;
    };
    for (const { stimulus, response } of trialsOf("test")) note(truthOf(stimulus), response, 1);
    for (const { stimulus, response } of trialsOf("lesson").slice(LEARNING)) note(lessonOf(stimulus).label, response, 0.5);
    const excess = (own, other) => known[own][other] / total[own] - prior(own, other);
    const pair = ({ label, answer }) => [label, answer].sort().join();
    const shown = answersTo(EXTRA).map((trial) => pair(lessonOf(trial.stimulus)));
    const need = (lesson) => {
      const confused = excess(lesson.label, lesson.answer) + excess(lesson.answer, lesson.label);
      return confused / (1 + shown.filter((other) => other === pair(lesson)).length);
    };
    const left = COURSE.extra.filter((lesson) => answersTo([lesson.image]).length === 0);
    return left.reduce((most, lesson) => (need(lesson) > need(most) ? lesson : most)).image;
  }

  // ---------------------------------------------------------------- the collecting server

  let sending = null; // the promise of the current sending: one at a time
  let pause = FIRST_PAUSE; // ms until the next try
  let again = show; // what the trouble screen tries again
  let nextTry = null; // its timer
  let trouble = ""; // why the last try failed
  let refused = false; // true once the server refused this participant for good

  /** Status and JSON object of the answer at `path`; null for anything else, such as a proxy's page. */
  async function reach(path, body) {
    const headers = { "Content-Type": "application/json" };
    const keepalive = path === "api/finish"; // people may leave at once
    const options = body ? { method: "POST", headers, body: JSON.stringify(body), keepalive } : {};
    try {
      const reply = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      const content = await reply.json().catch(() => null);
      return { status: reply.status, content: typeof content === "object" ? content : null };
    } catch {
      throw new Error(text("unreachable"));
    }
  }

  /** The content of a collecting server's reply; an error for any other reply. */
  function contentOf({ status, content }) {
    if (content === null) throw new Error(text("unreachable"));
    if (status !== 200) throw new Error(text("server_error", { status }));
    return content;
  }

  async function ask(path, body) {
    const { participant } = state;
    const reply = await reach(path, body);
    if (reply.status === 403 && reply.content?.error && participant === state.participant) refused = true;
    return contentOf(reply);
  }

  /** The greeting of the collecting server that sent the page, or null. A failing server is an error, not "no server":
   * otherwise the answers would stay in the browser. */
  async function findServer() {
    if (turk || !/^https?:$/.test(location.protocol)) return null;
    const reply = await reach("api/hello");
    if (NO_SERVER.includes(reply.status) || (reply.status === 200 && !reply.content?.build_id)) return null;
    if (contentOf(reply).build_id === COURSE.build_id) return reply.content;
    throw new Error(text("other_build"));
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
        if (!batch.some((trial) => settled.has(trial.trial_id))) throw new Error(text("none_confirmed"));
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

  /** Tells the server of a study, once it has the answers, that the person is done. It says where to go then. */
  async function finish() {
    state.finished = null;
    await send();
    if (state.unsent.length) throw new Error(trouble);
    const { participant, passed, comment } = state;
    const { url, code } = await ask("api/finish", { participant, passed, comment });
    state = { ...state, finished: url, deletion: code };
    save();
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
          throw new Error(text(location.protocol === "file:" ? "picture_missing" : "picture_failed"));
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
    const hint = element("span", { className: "visually-hidden" }, text("enlarge"));
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
      const asks = COURSE.consent && !state.consent;
      const screen = await (refused ? refusedScreen : asks ? consentScreen : SCREENS[state.screen])();
      if (mine !== turn || !screen) return;
      if (main.querySelector("#trouble")) pause = FIRST_PAUSE;
      main.replaceChildren(screen.content);
      document.title = text("title", { screen: screen.title, things: THINGS });
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
    const kept = `${error.message} ${state.trials.length ? text("kept") : ""} ${text("trouble")}`;
    const stop = state.screen === "label" ? button(text("stop"), () => go("end")) : null;
    const heading = element("h1", { tabIndex: -1 }, text("trouble_title"));
    const content = sheet(heading, paragraph(kept), actions(button(text("retry"), () => again(), "primary"), stop));
    content.id = "trouble";
    content.dataset.reason = error.message;
    say("");
    main.replaceChildren(content);
    heading.focus();
  }

  const parts = () => PARTS.filter((part) => part === "lesson" || COURSE[part].length > 0);

  function showSteps(part, done = 0, total = 1) {
    const all = parts();
    const place = part === "end" ? all.length : all.indexOf(part);
    const items = all.map((name, number) => {
      const ticked = number < place && (name !== "label" || state.passed);
      const item = element("li", {}, (ticked ? "✓ " : "") + text(name));
      if (number === place) item.setAttribute("aria-current", "step");
      return item;
    });
    document.getElementById("steps").replaceChildren(...items);
    progress.max = total;
    progress.value = part === "end" ? total : done;
  }

  /** The screen at which a person continues: in the first part that is not finished. */
  function following() {
    const part = parts().find((some) => some === "label" || remaining(some).length > 0);
    if (part === undefined || failed(PASS?.test)) return "end";
    const { again, done } = round(part);
    return done > 0 || (part === "lesson" && !again) ? part : `${part}-intro`;
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
    const list = element("div", { className: "answers", role: "group", "aria-label": text("your_answer") }, ...buttons);
    if (FEW) return list;
    const hint = element("p", { id: "hint", className: "soft" }, hintFor("", ORDER.length));
    const described = { "aria-labelledby": "question", "aria-describedby": "hint" };
    const placeholder = text("search");
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

  /** A name as it is searched: lower case without accents and apostrophes, one space for dots, dashes and spaces. */
  function folded(name) {
    const plain = name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
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

  const hintFor = (typed, n) => text(typed === "" ? "all_kinds" : n === 0 ? "none_found" : "found", { typed, n });

  // ---------------------------------------------------------------- screens

  /** The study's consent form. The button is not the primary one: pressing Enter must not agree. */
  async function consentScreen() {
    const block = ([tag, texts]) =>
      tag === "ul" ? element(tag, {}, ...texts.map((item) => element("li", {}, item))) : element(tag, {}, ...texts);
    const agree = button(text("agree"), () => {
      state.consent = { time: new Date().toISOString(), sha256: COURSE.consent.sha256 };
      save();
      show();
    });
    const form = [element("h1", {}, text("consent_title")), ...COURSE.consent.paragraphs.map(block)];
    const content = sheet(...form, paragraph(text("disagree")), actions(agree));
    return { content, title: text("consent"), part: "lesson" };
  }

  async function introScreen() {
    preload([COURSE.lessons[0].image, ...comparedPictures(COURSE.lessons[0])]);
    const hello = await findServer();
    state.server = hello !== null;
    state.study = hello?.study === true; // the server takes consent and parameters
    const start = button(text("start"), begin, "primary");
    start.disabled = preview;
    const items = parts().map((part) => {
      const values = { part: element("strong", {}, text(part)), n: (COURSE[part] ?? COURSE.lessons).length };
      return element("li", {}, ...pieces(`intro_${part}`, values));
    });
    const content = sheet(
      element("h1", {}, text("intro_title", { n: COURSE.classes.length, things: THINGS })),
      preview ? paragraph(text("preview"), "callout") : null,
      paragraph(text("intro", { thing: THING }), "lead"),
      kinds(),
      element("ol", {}, ...items),
      paragraph(legend()),
      PASS ? paragraph(text("pass_mark", { percent: PERCENT })) : null,
      paragraph(`${whereAnswersGo()} ${storage ? text("stays") : ""}`, "soft"),
      actions(start),
    );
    return { content, title: text("introduction"), part: "lesson" };
  }

  /** The names of the classes. Many of them are folded away, because the start button would be far below. */
  function kinds() {
    const names = element("ul", { className: "names" }, ...ORDER.map((number) => named(number, "li")));
    const summary = element("summary", {}, text("kinds", { n: ORDER.length }));
    return element("details", { open: ORDER.length <= NAMES_SHOWN }, summary, names);
  }

  function legend() {
    if (COURSE.lessons.every((lesson) => Object.keys(lesson.pairs).length === 0)) return text("legend_plain");
    return text(COURSE.borders ? "legend_border" : "legend_covered");
  }

  function whereAnswersGo() {
    const names = turk ? "" : Object.keys(state.parameters).join(", ");
    const recorded = text(names ? "recorded_link" : "recorded", { names });
    return `${COURSE.consent ? "" : recorded} ${text(turk ? "go_turk" : state.server ? "go_server" : "go_browser")}`;
  }

  async function begin() {
    if (preview) return;
    readyAt = Infinity; // one participant, however often the button is pressed
    const mine = ++turn;
    try {
      const about = state.study ? { parameters: state.parameters, consent: state.consent } : {};
      const joined = state.server ? await ask("api/join", about) : { participant: randomId() };
      if (mine !== turn) return;
      const { participant, code: deletion = "", trials = [] } = joined; // who comes back, on any device, has answers
      state = { ...state, participant, deletion, trials };
    } catch (error) {
      if (mine === turn) showTrouble(error, begin);
      return;
    }
    since = performance.now();
    go(following());
  }

  /** A question: the picture and the classes. */
  async function questionScreen(phase, image, heading, extra = null) {
    const following = remaining(phase).filter((id) => id !== image).slice(0, 3);
    const picture = await load(image);
    const choices = answerChoices();
    const question = text("question", { thing: THING });
    const eyebrow = paragraph(heading, "soft");
    const content = element(
      "div",
      { className: FEW ? "question" : "question many" },
      frame(picture, text("picture")),
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
    else go(phase === "label" ? phase : following());
  }

  async function lessonScreen() {
    const [image] = remaining("lesson");
    if (image === undefined) return go(following());
    const { done, total } = round("lesson");
    const screen = await questionScreen("lesson", image, text("lesson_number", { place: done + 1, total }));
    return { ...screen, done, total, next: [...comparedPictures(lessonOf(image)), ...screen.next] };
  }

  /** The two pictures shown after a lesson that compare with class `counter`, plain unless they are `outlined`; or null. */
  function comparison(lesson, counter) {
    const outlined = lesson.pairs[counter];
    const pair = { image: lesson.image, partner: lesson.partners?.[counter], ...outlined };
    return pair.partner === undefined ? null : { ...pair, outlined };
  }

  /** The pictures that may come after a lesson's answer; with many classes, only those of the right answer. */
  function comparedPictures(lesson) {
    const shown = (FEW ? ORDER : [lesson.answer]).map((counter) => comparison(lesson, counter));
    return shown.filter((pair) => pair !== null).flatMap((pair) => [pair.image, pair.partner]);
  }

  async function feedbackScreen() {
    const trials = trialsOf("lesson");
    const { stimulus, response, correct } = trials[trials.length - 1];
    const lesson = lessonOf(stimulus);
    const verdict = element("h1", {}, ...pieces(correct ? "right" : "wrong", { name: named(lesson.label) }));
    const wrong = correct ? null : element("p", {}, ...pieces("you_answered", { name: named(response) }));
    const last = remaining("lesson").length === 0;
    const content = element(
      "div",
      { className: "feedback" },
      element("div", { className: `verdict ${correct ? "right" : "wrong"}` }, element("div", {}, verdict, wrong)),
      // A wrong answer is compared with that class, if the lesson can; else with the student's own counter class.
      ...(await compared(lesson, comparison(lesson, response) ? response : lesson.answer)),
      actions(button(text(last ? "finish_lessons" : "next_lesson"), () => go("lesson"), "primary")),
    );
    const { done, total } = round("lesson");
    return { content, title: text("lesson_answer", { place: done, total }), part: "lesson", done, total };
  }

  /** The pictures after a lesson's answer, side by side below a line that says what to look for. */
  async function compared(lesson, counter) {
    const pair = comparison(lesson, counter);
    const own = lesson.label;
    // Both first: a plain picture is the one on the screen, and leaves it when it is put into the next.
    const [image, partner] = await Promise.all((pair ? [pair.image, pair.partner] : [lesson.image]).map(load));
    const described = (side, shown, against) => {
      const [name, other] = [COURSE.classes[shown], COURSE.classes[against]];
      if (!pair?.outlined?.[side]) return text("picture_whole", { name });
      return text(COURSE.borders ? "picture_border" : "picture_covered", { name, other });
    };
    const captioned = (picture, side, shown, against) => {
      const note = element("span", {}, text(side === "image" ? "this_picture" : "for_comparison"));
      const hint = pair?.outlined && !(side in pair.outlined) ? element("span", {}, text("look_for")) : null;
      const caption = element("figcaption", {}, note, named(shown, "strong"), hint);
      return element("figure", {}, enlargeable(picture, described(side, shown, against)), caption);
    };
    const first = captioned(image, "image", own, counter);
    if (pair === null) return [element("div", { className: "pair" }, first)];
    const reason = pieces(pair.outlined ? "explained" : "not_explained", { name: named(own), other: named(counter) });
    const second = captioned(partner, "partner", counter, own);
    return [element("p", { className: "reason" }, ...reason), element("div", { className: "pair" }, first, second)];
  }

  function rightInLessons() {
    const right = trialsOf("lesson").filter((trial) => trial.correct).length;
    return text("right_in_lessons", { right, n: trialsOf("lesson").length });
  }

  /** After a failed first test. */
  async function lessonIntroScreen() {
    const right = answersTo(COURSE.test).filter(isRight).length;
    const content = sheet(
      element("h1", {}, text("extra_title")),
      paragraph(text("right_in_test", { right, n: COURSE.test.length, percent: PERCENT }), "lead"),
      paragraph(text("extra_next", { n: PASS.shown })),
      actions(button(text("start_extra"), () => go("lesson"), "primary")),
    );
    return { content, title: text("lesson"), part: "lesson", total: PASS.shown, next: remaining("lesson") };
  }

  async function testIntroScreen() {
    const content = sheet(
      element("h1", {}, text("test_title")),
      paragraph(rightInLessons(), "lead"),
      paragraph(text("test_next", { n: round("test").total })),
      paragraph(text("test_guess")),
      actions(button(text("start_test"), () => go("test"), "primary")),
    );
    return { content, title: text("test"), part: "test", total: round("test").total, next: remaining("test").slice(0, 2) };
  }

  async function testScreen() {
    const [image] = remaining("test");
    if (image === undefined) return go(following());
    const { done, total } = round("test");
    const heading = text("test_number", { place: done + 1, total });
    return { ...(await questionScreen("test", image, heading)), done, total };
  }

  async function labelIntroScreen() {
    const content = sheet(
      element("h1", {}, text("label_title")),
      paragraph(text("label_next", { thing: THING }), "lead"),
      paragraph(text("label_stop")),
      actions(button(text("start_labeling"), () => go("label"), "primary"), button(text("stop"), () => go("end"))),
    );
    return { content, title: text("labeling"), part: "label", done: trialsOf("label").length, total: COURSE.label.length };
  }

  async function labelScreen() {
    const image = await nextToLabel();
    state.labeledAll = image === null;
    if (image === null) return go("end");
    const done = trialsOf("label").length;
    const stop = actions(button(text("stop"), () => go("end")));
    const screen = await questionScreen("label", image, text("labeled_so_far", { n: done }), stop);
    return { ...screen, done, total: COURSE.label.length, next: state.server ? [] : screen.next };
  }

  async function endScreen() {
    state.passed &&= !failed(PASS?.test);
    if (state.study && (state.finished === null || state.unsent.length)) await finish();
    const links = COURSE.links[state.passed ? "completion" : "screen_out"];
    const url = turk ? "" : state.study ? state.finished : links;
    const code = url && new URL(url).searchParams.get("cc");
    const labeled = trialsOf("label").length;
    // The server may have a picture later: one that somebody was shown and did not answer.
    const more = state.passed && (state.server || !state.labeledAll) && remaining("label").length > 0;
    const work = COURSE.label.length ? text("labeled", { n: labeled }) : "";
    const facts = `${rightInLessons()} ${state.passed ? work : text("screened_out")}`;
    const label = text(state.labeledAll ? "ask_for_more" : labeled ? "continue_labeling" : "label_pictures");
    const takeHome = button(text("download_answers"), download, "primary");
    takeHome.id = "take-home";
    const content = sheet(
      element("h1", {}, text(turk ? "end_turk" : "end")),
      paragraph(facts, "lead"),
      element("p", { id: "hand-in" }, handInText()),
      state.deletion ? paragraphWith("deletion", state.deletion) : null,
      code ? paragraphWith("completion_code", code) : null,
      more && state.labeledAll ? paragraph(text("wait")) : null,
      state.server && !state.study ? null : commentField(),
      actions(
        turk ? submitForm() : takeHome,
        url ? element("a", { href: url, className: "button primary" }, text("completion")) : null,
        more ? button(label, () => go("label")) : null,
        turk ? null : startOver(),
      ),
    );
    return { content, title: text("done"), part: "end" };
  }

  /** A sentence with a code that people may copy. */
  function paragraphWith(key, code) {
    return element("p", {}, ...pieces(key, { code: element("strong", { translate: false }, code) }));
  }

  /** An optional comment, for the server of a study, the download or Mechanical Turk. */
  function commentField() {
    const box = element("textarea", { value: state.comment, maxLength: LONGEST_COMMENT });
    box.addEventListener("change", () => {
      state.comment = box.value;
      save();
      if (state.study) finish().catch(showTrouble);
    });
    return element("label", {}, text("comment"), box);
  }

  /** The study is full, or the server does not know this participant (new database). No retry. */
  async function refusedScreen() {
    const known = state.participant !== null;
    const content = sheet(
      element("h1", {}, text(known ? "unknown_person" : "full")),
      paragraph(known ? keptHere() : text("full_thanks")),
      known ? actions(button(text("download_answers"), download, "primary"), startOver()) : null,
    );
    return { content, title: text("closed"), part: null };
  }

  const keptHere = () => `${text("kept_here", { n: state.trials.length })} ${text("pass_on")}`;

  function handInText() {
    const { length: n } = state.trials;
    const { length: unsent } = state.unsent;
    const { length: untaken } = state.untaken;
    if (turk) return turk.target ? text("hand_in", { n }) : text("no_target");
    if (!state.server) return keptHere();
    if (unsent) return `${text("unsent", { unsent, n })} ${trouble ? text("last_try", { reason: trouble }) : ""}`;
    if (untaken) return `${text("untaken", { untaken, n })} ${text("pass_on")}`;
    return `${text("all_sent", { n })} ${state.finished ? "" : text("close")}`;
  }

  /** The form that Mechanical Turk expects of an ExternalQuestion. */
  function submitForm() {
    const fields = { assignmentId: turk.assignment, build_id: COURSE.build_id, trials: JSON.stringify(state.trials) };
    if (state.consent) fields.consent = JSON.stringify(state.consent);
    const inputs = Object.entries(fields).map(([name, value]) => element("input", { type: "hidden", name, value }));
    const disabled = turk.target === null;
    const submit = element("button", { type: "submit", className: "primary", disabled }, text("submit"));
    const onsubmit = () => setTimeout(() => (submit.disabled = true));
    const onformdata = ({ formData }) => state.comment && formData.set("comment", state.comment);
    return element("form", { method: "post", action: turk.target ?? "", onsubmit, onformdata }, ...inputs, submit);
  }

  /** For computers that several people use. */
  function startOver() {
    return button(text("start_over"), () => {
      const n = state.server && !refused ? state.unsent.length + state.untaken.length : state.trials.length;
      if (!window.confirm(`${text(n ? "lost" : "server_has_them", { n })}\n\n${text("really")}`)) return;
      state = newState();
      storage?.removeItem(KEY);
      if (document.cookie.includes("person=")) assignAgain();
      else location.reload();
    });
  }

  /** In a study with several pages, the next person on this computer may get another one. */
  function assignAgain() {
    const path = new URL("..", location).pathname.replace(/(.)\/$/, "$1"); // as browsers derive it for the cookie
    document.cookie = `person=; path=${path}; max-age=0`;
    location.assign(`..${location.search}`);
  }

  const SCREENS = {
    intro: introScreen,
    "lesson-intro": lessonIntroScreen,
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
    document.getElementById("menu-panel").replaceChildren(
      paragraph(`${text("so_far", { n: state.trials.length })} ${text(storage ? "stays" : "no_storage")}`),
      element("button", { type: "button", onclick: download }, text("download_answers")),
      ...(FEW ? [element("label", {}, keys, text("number_keys", { n: COURSE.classes.length }))] : []),
      ...(state.deletion ? [paragraphWith("deletion", state.deletion)] : []),
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
    else if (event.key === "Enter" && !event.target.closest("a, button, input, summary, textarea")) next?.click();
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

  document.documentElement.lang = COURSE.text.lang;
  menu.querySelector("summary").textContent = text("menu");
  document.getElementById("steps").ariaLabel = text("parts");
  progress.ariaLabel = text("progress");
  state = readState();
  if (!storage && !preview) warn(text("no_storage"));
  show();
  send();
})();
