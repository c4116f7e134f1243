// The course as a person takes it: introduction, lessons, test, labelling, hand-in. What is shown comes from data.js (window.COURSE).
// Every answer is one trial under jsPsych's names. No inline script or style, so that it runs under a strict content security policy.
"use strict";

(() => {
  const COURSE = window.COURSE;
  const main = document.getElementById("main");
  const menu = document.getElementById("menu");
  const status = document.getElementById("status");
  const notice = document.getElementById("notice");
  const progress = document.getElementById("progress");

  const GUARD = 400; // ms after a screen appears in which nothing is taken: the second half of a double click is no answer
  const LOADING = 300; // ms before waiting for a picture is spoken of
  const BATCH = 50; // trials that the server takes at once
  const PATIENCE = 10000; // ms to wait for the server's answer
  const FIRST_PAUSE = 1000; // ms until what failed is tried again; each time twice as many
  const LONGEST_PAUSE = 30000;
  const KEPT_PICTURES = 60; // decoded pictures that are kept ready
  const NUMBER_KEYS = 9; // up to so many classes each has a button and a number key; more are searched in a list
  const NAMES_SHOWN = 30; // class names that the introduction lists at once
  const NO_SERVER = [403, 404, 405, 410]; // what plain web servers and stores answer where a file is not
  const NOT_NEEDED = "this image has its labels already"; // the server's reason to refuse an answer that is not needed: nothing is lost
  const UNREACHABLE = "The server cannot be reached just now.";
  const NO_ASSIGNMENT = "ASSIGNMENT_ID_NOT_AVAILABLE"; // what Mechanical Turk says while a worker looks at a preview
  const STAYS = "Close the page whenever you like: it goes on where you stopped.";
  const PARTS = { lesson: "Learn", test: "Test", label: "Label" };
  const ATTRIBUTES = ["role", "translate"]; // that older browsers do not know as properties

  if (!COURSE) {
    main.replaceChildren(element("p", {}, "The file data.js is missing beside this page; build the course page again."));
    return;
  }

  const FEW = COURSE.classes.length <= NUMBER_KEYS;

  // ---------------------------------------------------------------- small helpers

  /** A DOM element with properties, attributes (names with a dash, and ATTRIBUTES) and children. */
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || ATTRIBUTES.includes(name)) made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...children.filter((child) => child !== null));
    return made;
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

  function count(number, [one, many]) {
    return `${number} ${number === 1 ? one : many}`;
  }

  function article(name) {
    return /^[aeiou]/i.test(name) ? "an" : "a";
  }

  function withArticle(name) {
    return `${article(name)} ${name}`;
  }

  /** The name of a class. Browsers that translate the page leave it alone, or it would not be the same in buttons, verdicts and captions,
   * nor found by who types what is on the screen. */
  function named(number, tag = "span", properties = {}) {
    return element(tag, { ...properties, translate: "no" }, COURSE.classes[number]);
  }

  /** The same with its article, to be put into a sentence. */
  function namedWithArticle(number) {
    return [`${article(COURSE.classes[number])} `, named(number)];
  }

  function say(text) {
    status.textContent = text;
  }

  function warn(text) {
    notice.textContent = text;
    notice.hidden = !text;
  }

  // ---------------------------------------------------------------- where the page was opened

  /** What Mechanical Turk puts into the address of an ExternalQuestion, or null elsewhere. */
  function readTurk() {
    const asked = new URLSearchParams(location.search);
    const assignment = asked.get("assignmentId");
    if (!assignment) return null;
    return { assignment, preview: assignment === NO_ASSIGNMENT, target: submitAddress(asked.get("turkSubmitTo")) };
  }

  /** Where to submit, or null: an address could hold anything, so only Mechanical Turk and this computer (for trying out) are taken. */
  function submitAddress(given) {
    try {
      const url = new URL(given);
      const amazon = url.protocol === "https:" && (url.hostname === "mturk.com" || url.hostname.endsWith(".mturk.com"));
      const here = /^https?:$/.test(url.protocol) && ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
      return amazon || here ? `${url.origin}${url.pathname.replace(/\/+$/, "")}/mturk/externalSubmit` : null;
    } catch {
      return null;
    }
  }

  const turk = readTurk();
  const preview = turk !== null && turk.preview;

  // ---------------------------------------------------------------- what is remembered

  const KEY = `memorable-course:${COURSE.build_id}${turk ? `:${turk.assignment}` : ""}`;
  const storage = openStorage();
  let state = null; // read below, once all is defined

  /** The browser's memory, or null where it has none for us (private windows, blocked cookies, some frames). */
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
      if (Array.isArray(kept.trials) && Array.isArray(kept.unsent) && kept.screen in SCREENS) return { ...newState(), ...kept };
    } catch {
      // nothing kept, or nothing that can be read
    }
    return newState();
  }

  function save() {
    try {
      if (storage && !preview) storage.setItem(KEY, JSON.stringify(state));
    } catch {
      warn("This browser's memory is full: download your answers before you close or reload the page.");
    }
    showMenu();
  }

  function trialsOf(phase) {
    return state.trials.filter((trial) => trial.phase === phase);
  }

  /** The pictures of a part that are still to be answered, in the order in which this participant sees them. */
  function remaining(phase) {
    const done = new Set(trialsOf(phase).map((trial) => trial.stimulus));
    const all = phase === "lesson" ? COURSE.lessons.map((lesson) => lesson.image) : ordered(phase);
    return all.filter((image) => !done.has(image));
  }

  const orders = new Map(); // participant and part -> all its pictures in the participant's order: sorting a hundred thousand takes long

  function ordered(phase) {
    const whose = `${state.participant} ${phase}`;
    if (!orders.has(whose)) {
      const place = new Map(COURSE[phase].map((image) => [image, hash(state.participant + image)]));
      orders.set(whose, [...COURSE[phase]].sort((one, other) => place.get(one) - place.get(other)));
    }
    return orders.get(whose);
  }

  /** Milliseconds in the course: those of this page since the last answer, added to what that one has. No clock that is set counts, but
   * neither does the time in which the page was closed. */
  function elapsed() {
    const last = state.trials.length ? state.trials[state.trials.length - 1].time_elapsed : 0;
    return last + Math.round(performance.now() - since);
  }

  let since = performance.now(); // the last answer; the beginning, or when this page took up what is remembered

  function record(asked, response) {
    const lesson = COURSE.lessons.find((some) => some.image === asked.image);
    const trial = {
      trial_id: randomId(),
      trial_index: state.trials.length,
      trial_type: asked.phase,
      phase: asked.phase,
      time_elapsed: elapsed(),
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

  function answers() {
    return { build_id: COURSE.build_id, dataset: COURSE.dataset, participant: state.participant, trials: state.trials };
  }

  function download() {
    const content = new Blob([JSON.stringify(answers(), null, 1)], { type: "application/json" });
    const link = element("a", { href: URL.createObjectURL(content), download: `answers_${COURSE.build_id}_${state.participant}.json` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say("Your answers are being downloaded.");
  }

  // ---------------------------------------------------------------- the collecting server

  let sending = null; // the sending that is under way, so that there is one at a time
  let pause = FIRST_PAUSE; // ms until the next try
  let again = show; // what the screen that waits tries again
  let nextTry = null; // its timer: there is one, whether sending failed or the screen, which sends first
  let trouble = ""; // why the last try failed

  let refused = ""; // the server's definite no to this participant, or to one more: waiting changes nothing, a reload asks again

  /** What is answered at `path`: its status, and its content, an object, or null where it is something else, such as a proxy's page. */
  async function reach(path, body) {
    const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
    const waiting = new AbortController();
    const over = setTimeout(() => waiting.abort(), PATIENCE);
    try {
      const reply = await fetch(path, { ...options, cache: "no-store", signal: waiting.signal });
      return { status: reply.status, content: objectIn(await reply.text()) };
    } catch {
      throw new Error(UNREACHABLE);
    } finally {
      clearTimeout(over);
    }
  }

  function objectIn(text) {
    try {
      const value = JSON.parse(text);
      return typeof value === "object" ? value : null;
    } catch {
      return null;
    }
  }

  /** The content of what a server that collects answers replied; an error where it replied something else. */
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

  /** Whether a server that collects answers gave us the page. Only a definite reply says that there is none: one that cannot be reached
   * just now, or is of another build, is trouble, or answers would stay here that somebody waits for. */
  async function findServer() {
    if (turk || !/^https?:$/.test(location.protocol)) return false;
    const reply = await reach("api/hello");
    if (NO_SERVER.includes(reply.status) || (reply.status === 200 && !reply.content?.build_id)) return false;
    if (contentOf(reply).build_id === COURSE.build_id) return true;
    throw new Error("The server collects answers to another build of this page: reload the page.");
  }

  /** Sends what is unsent. A trial counts as sent once the server has said that it stored or refused it. */
  function send() {
    if (!state.server || refused) return Promise.resolve();
    sending ??= sendAll().finally(() => {
      sending = null;
      showMenu();
    });
    return sending;
  }

  async function sendAll() {
    try {
      while (state.unsent.length) {
        const batch = state.trials.filter((trial) => state.unsent.includes(trial.trial_id)).slice(0, BATCH);
        const reply = await ask("api/trials", { participant: state.participant, trials: batch });
        const settled = new Set([...reply.stored, ...Object.keys(reply.refused)]);
        if (!batch.some((trial) => settled.has(trial.trial_id))) throw new Error("The server confirmed none of the answers.");
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

  /** Tries again by itself, after pauses that grow until something succeeds: what could not be sent, or the screen that waits for it. */
  function tryLater() {
    if (nextTry !== null) return;
    nextTry = setTimeout(() => {
      nextTry = null;
      tryNow();
    }, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }

  function tryNow() {
    if (main.querySelector("#trouble")) again(true);
    else send();
  }

  /** The next picture to label: handed out by the server, or the next of this participant's order. Null: none is left. */
  async function nextToLabel() {
    if (!state.server) return remaining("label")[0] ?? null;
    await send(); // the server hands out the next picture only once it has the answer to the last
    if (state.unsent.length) throw new Error(trouble);
    const { image } = await ask("api/next", { participant: state.participant });
    return image;
  }

  // ---------------------------------------------------------------- pictures

  const pictures = new Map(); // id -> promise of the decoded image
  const others = new Set(COURSE.endings.others); // ids of the pictures whose files have not the usual ending

  function address(id) {
    return `images/${id}.${others.has(id) ? COURSE.endings.other : COURSE.endings.usual}`;
  }

  function load(id) {
    if (!pictures.has(id)) {
      const image = element("img", { src: address(id), alt: "", draggable: false });
      const ready = image.decode().then(
        () => image,
        () => {
          pictures.delete(id);
          throw new Error("A picture could not be loaded.");
        },
      );
      pictures.set(id, ready);
      if (pictures.size > KEPT_PICTURES) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(id);
  }

  function preload(ids) {
    for (const id of ids) load(id).catch(() => {}); // what fails here is tried again when it is needed
  }

  /** Resolves once what was just put on the page is on the screen, with the time of that. */
  function painted() {
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))));
  }

  function frame(picture, description) {
    picture.alt = description;
    return element("span", { className: "frame" }, picture);
  }

  /** A picture that can be looked at in the size of the window: on a phone, those of a pair are small. */
  function enlargeable(picture, description) {
    if (!window.HTMLDialogElement?.prototype.showModal) return frame(picture, description); // an older browser
    const open = () => {
      const large = element("img", { src: picture.src, alt: description });
      const close = element("button", { type: "button", className: "primary", translate: "yes", onclick: () => dialog.close() }, "Close");
      const closing = { onclose: () => dialog.remove(), onclick: () => dialog.close() };
      const dialog = element("dialog", { "aria-label": description, translate: "no", ...closing }, large, close);
      document.body.append(dialog);
      dialog.showModal();
    };
    const hint = element("span", { className: "visually-hidden" }, "Enlarge: ");
    const shown = frame(picture, description); // the description holds names of classes
    return element("button", { type: "button", className: "enlarge", translate: "no", onclick: open }, hint, shown);
  }

  // ---------------------------------------------------------------- from screen to screen

  let turn = 0; // counts calls of show(): a screen that is ready after another was asked for is dropped
  let readyAt = 0; // when the buttons of this screen begin to count
  let asked = null; // the question on the screen: phase, image, shown

  async function show(byItself = false) {
    const mine = ++turn;
    asked = null;
    const waiting = byItself ? null : setTimeout(showWaiting, LOADING); // nobody pressed anything that would have to be seen taken
    try {
      const screen = await (refused ? refusedScreen : SCREENS[state.screen])();
      if (mine !== turn || !screen) return;
      clearTimeout(waiting);
      main.classList.remove("waiting");
      if (main.querySelector("#trouble")) pause = FIRST_PAUSE;
      main.replaceChildren(screen.content);
      document.title = `${screen.title} – ${courseName()}`;
      showSteps(screen.part, screen.done, screen.total);
      showMenu();
      window.scrollTo(0, 0);
      const heading = main.querySelector("h1");
      heading.tabIndex = -1;
      if (screen.starts) screen.starts.focus({ preventScroll: true });
      else if (mine > 1) heading.focus({ preventScroll: true });
      say(screen.said ?? "");
      readyAt = Infinity;
      const shown = await painted();
      if (mine !== turn) return;
      readyAt = shown + GUARD;
      asked = screen.asks ? { ...screen.asks, shown } : null;
      preload(screen.next ?? []);
    } catch (error) {
      if (mine === turn) showTrouble(error);
    } finally {
      clearTimeout(waiting);
      if (mine === turn) main.classList.remove("waiting");
    }
  }

  /** The screen so far fades while the next one is fetched: what was pressed has been taken. */
  function showWaiting() {
    say("Loading.");
    main.classList.add("waiting");
    if (!main.querySelector("h1")) main.replaceChildren(element("p", {}, "Loading …"));
  }

  function go(screen) {
    state.screen = screen;
    save();
    show();
  }

  let troubleShown = ""; // what #trouble says: on the page may stand a browser's translation of it

  /** What failed is tried again, by itself and whenever one likes; nothing is lost. But for a definite no. */
  function showTrouble(error, retry = show) {
    if (refused) return show();
    again = retry;
    tryLater();
    readyAt = performance.now() + GUARD;
    const kept = state.trials.length ? "Your answers are kept. " : "";
    const text = `${error.message} ${kept}The page tries again by itself, or at once if you press the button.`;
    if (main.querySelector("#trouble") && troubleShown === text) {
      if (status.textContent !== "") say(text); // somebody pressed the button; otherwise a screen reader would begin anew each time
      return;
    }
    troubleShown = text;
    say("");
    const content = element(
      "div",
      { className: "sheet", id: "trouble" },
      element("h1", { tabIndex: -1 }, "One moment"),
      element("p", {}, text),
      element(
        "div",
        { className: "actions" },
        button("Try again", () => again(), "primary"),
        state.screen === "label" ? button("Stop here", () => go("end")) : null,
      ),
    );
    main.replaceChildren(content);
    content.querySelector("h1").focus();
  }

  /** A button that waits out the second half of a double click. */
  function button(text, action, className = "") {
    const pressed = () => {
      if (performance.now() >= readyAt) action();
    };
    return element("button", { type: "button", className, onclick: pressed }, text);
  }

  function courseName() {
    const [, many] = COURSE.things;
    return `Course: ${many}`;
  }

  function parts() {
    return Object.keys(PARTS).filter((part) => part === "lesson" || COURSE[part].length > 0);
  }

  function showSteps(part, done = 0, total = 1) {
    const all = parts();
    const place = part === "end" ? all.length : all.indexOf(part);
    const items = all.map((name, number) => {
      const item = element("li", { className: number < place ? "done" : "" }, PARTS[name]);
      if (number < place) item.append(element("span", { className: "visually-hidden" }, " (done)"));
      if (number === place) item.setAttribute("aria-current", "step");
      return item;
    });
    document.getElementById("steps").replaceChildren(...items);
    progress.max = total;
    progress.value = part === "end" ? total : done;
  }

  /** The screen after a part is through. */
  function after(part) {
    const following = parts()[parts().indexOf(part) + 1];
    return following ? `${following}-intro` : "end";
  }

  // ---------------------------------------------------------------- answers to choose from

  const TOUCH = window.matchMedia("(hover: none) and (pointer: coarse)");

  /** The numbers of the classes as people see them: few as they are, many by name, so that one finds them. */
  const ORDER = inOrder();

  function inOrder() {
    const numbers = [...COURSE.classes.keys()];
    const { compare } = new Intl.Collator("en", { numeric: true });
    return FEW ? numbers : numbers.sort((one, other) => compare(COURSE.classes[one], COURSE.classes[other]));
  }

  function answerButtons() {
    const buttons = ORDER.map((number) =>
      element(
        "button",
        { type: "button", onclick: () => answer(number) },
        element("kbd", { "aria-hidden": "true" }, String(number + 1)),
        named(number),
      ),
    );
    return element("div", { className: "answers", role: "group", "aria-label": "Your answer" }, ...buttons);
  }

  /** Letters that Unicode takes for letters of their own, as people type them who have no such key. */
  const SPELT = { ß: "ss", æ: "ae", œ: "oe", ø: "o", ł: "l", đ: "d", ð: "d", þ: "th", ı: "i" };

  /** A text as it is searched: small letters without accents, blanks for dots and dashes, no apostrophes. */
  function folded(text) {
    const plain = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
    const spelt = plain.replace(/['’‘`]/g, "").replace(/[ßæœøłđðþı]/g, (letter) => SPELT[letter]);
    return spelt.replace(/[\p{P}\s]+/gu, " ").trim();
  }

  /** A text as it may be typed: folded, and, as Germans do without umlauts, with an e after a, o, u. */
  function spellings(text) {
    const german = text.normalize("NFC").replace(/[äöü]/gi, (letter) => `${letter}e`);
    return [...new Set([folded(text), folded(german)])];
  }

  const ONE_LETTER = /^[a-z0-9]$/; // stands in nearly every name: such a word is looked for where words begin; a Chinese character anywhere

  const NAMES = COURSE.classes.map((name) => ({ small: name.toLowerCase(), spelt: spellings(name) }));

  /** How well a text fits a class: 0 it is the name, 1 but for accents and the like, 2 the name begins with it, 3 its words begin words,
   * 4 they are in it; Infinity: not at all. */
  function fit(typed, number) {
    const { small, spelt } = NAMES[number];
    const whole = typed.toLowerCase();
    if (small === whole) return 0;
    if (folded(typed) === "") return small.includes(whole) ? 4 : Infinity; // nothing but signs
    return Math.min(...spellings(typed).flatMap((wanted) => spelt.map((name) => fitOf(wanted, name))));
  }

  function fitOf(wanted, name) {
    const words = wanted.split(" ");
    if (name === wanted) return 1;
    if (name.startsWith(wanted)) return 2;
    if (words.every((word) => ` ${name}`.includes(` ${word}`))) return 3;
    return words.every((word) => !ONE_LETTER.test(word) && name.includes(word)) ? 4 : Infinity;
  }

  /** The classes that fit what was typed, the better ones first, else in their order; and the one that is meant beyond doubt, or null. */
  function matching(typed) {
    if (typed === "") return { found: ORDER, meant: null };
    const fits = new Map(ORDER.map((number) => [number, fit(typed, number)]));
    const found = ORDER.filter((number) => fits.get(number) < Infinity).sort((one, other) => fits.get(one) - fits.get(other));
    const best = found.filter((number) => fits.get(number) === fits.get(found[0]));
    const sure = found.length === 1 || (best.length === 1 && fits.get(best[0]) <= 1);
    return { found, meant: sure ? best[0] : null };
  }

  /** Many classes: a list of all of them under a box to search in, the combobox of the ARIA Authoring Practices with a list that stays
   * open, since nothing else is asked.
   *
   * It is the same list for 12 classes and for 200, and in lessons, test and labelling. A shorter one that must hold the true class
   * gives it away by what else it holds; in the test and while labelling nobody knows that class; and one of what a network finds
   * likely would pass its mistakes on to the people whose labels are to mend them. In lessons people practise what they do afterwards.
   * The last answers do not stand first either: that suggests them, and pictures come in random order, so that of 200 classes the last
   * five hold the next answer one time in forty.
   *
   * Enter takes the marked name. Of several that fit, none is marked until an arrow key does: the first is not more likely than the rest.
   */
  function searchedList() {
    const options = COURSE.classes.map((_, number) => {
      const choose = { onclick: () => answer(number), onmousedown: (event) => event.preventDefault() }; // typing goes on in the box
      return named(number, "li", { id: `kind-${number}`, role: "option", "aria-selected": "false", ...choose });
    });
    // Some browsers let Tab stop at whatever scrolls; here the arrow keys scroll it from the box.
    const list = element("ul", { id: "kinds", className: "kinds-list", role: "listbox", "aria-label": "Kinds", tabIndex: -1 });
    const hint = element("p", { id: "hint", className: "soft" });
    const box = searchBox();
    let found = [];
    let marked = null;

    const mark = (number) => {
      if (marked !== null) options[marked].setAttribute("aria-selected", "false");
      marked = number;
      if (marked === null) return box.removeAttribute("aria-activedescendant");
      options[marked].setAttribute("aria-selected", "true");
      box.setAttribute("aria-activedescendant", options[marked].id);
      options[marked].scrollIntoView({ block: "nearest" });
    };
    const search = () => {
      const typed = box.value.trim();
      const matched = matching(typed);
      found = matched.found;
      list.replaceChildren(...found.map((number) => options[number]));
      list.hidden = found.length === 0;
      box.setAttribute("aria-expanded", String(found.length > 0));
      list.scrollTop = 0;
      mark(matched.meant);
      hint.textContent = hintFor(typed, found.length);
    };
    const searchAndSay = () => {
      search();
      say(hint.textContent);
    };
    const step = (by) => {
      const from = marked === null && by < 0 ? 0 : found.indexOf(marked); // up leads to the last name, down to the first
      if (found.length) mark(found[(from + by + found.length) % found.length]);
    };
    const take = (event) => {
      if (marked !== null && !event.repeat) answer(marked);
      else say(hint.textContent);
    };
    const clear = () => {
      box.value = "";
      searchAndSay();
    };
    const pressed = (event) => {
      // While a Chinese character is being spelt, Enter and the arrows belong to that.
      if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
      const act = { ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: () => take(event), Escape: clear }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    };
    box.addEventListener("input", searchAndSay);
    box.addEventListener("keydown", pressed);
    // A phone's keyboard covers the lower half: the box goes to the top, so that what fits is seen under it.
    box.addEventListener("focus", () => TOUCH.matches && box.scrollIntoView({ block: "start" }));
    search();
    return element("div", { className: "searched", role: "group", "aria-label": "Your answer" }, box, hint, list);
  }

  function searchBox() {
    return element("input", {
      type: "text",
      placeholder: "Type a part of its name",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: false,
      role: "combobox",
      "aria-labelledby": "question",
      "aria-describedby": "hint",
      "aria-controls": "kinds",
      "aria-autocomplete": "list",
    });
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
    const why = explains("pairs") ? ", and shown why" : "";
    const start = button("Start the first lesson", begin, "primary");
    start.disabled = preview;
    const stages = [
      ["Learn", `${count(COURSE.lessons.length, ["lesson", "lessons"])}. You are told at once which kind it was${why}.`],
      ["Test", `${count(COURSE.test.length, ["picture", "pictures"])}. You are not told whether you are right.`],
      ["Label", "As many more pictures as you like. Stop at any time."],
    ].slice(0, parts().length);
    const content = element(
      "div",
      { className: "sheet" },
      element("h1", {}, `Learn to tell ${COURSE.classes.length} kinds of ${many} apart`),
      preview ? element("p", { className: "callout" }, "This is a preview. Accept the HIT to start.") : null,
      element(
        "p",
        { className: "lead" },
        `Say for each picture which kind of ${one} it shows. At first you can only guess: every answer teaches you something.`,
      ),
      kinds(),
      element(
        "ol",
        { className: "parts" },
        ...stages.map(([name, text]) => element("li", {}, element("p", {}, element("strong", {}, `${name}: `), text))),
      ),
      legend(),
      element("p", { className: "soft" }, `${whereAnswersGo()} ${storage ? STAYS : ""}`),
      element("div", { className: "actions" }, start),
    );
    return { content, title: "Introduction", part: "lesson" };
  }

  /** The names of the classes; many of them are folded away, so that the button that starts is not far below. */
  function kinds() {
    const names = element("ul", { className: "names" }, ...ORDER.map((number) => named(number, "li")));
    if (ORDER.length <= NAMES_SHOWN) return element("div", {}, element("h2", {}, "The kinds"), names);
    return element("details", { className: "kinds" }, element("summary", {}, `The ${ORDER.length} kinds`), names);
  }

  /** Whether a lesson has an answer with a pair (`pairs`), or one with two plain pictures (`partners`). */
  function explains(how) {
    return COURSE.lessons.some((lesson) => Object.keys(lesson[how] ?? {}).length > 0);
  }

  function legend() {
    const beside = "In a lesson, you then see the picture beside one of another kind";
    if (!explains("pairs")) return element("p", {}, `${beside}, to compare the two.`);
    const marked = COURSE.borders
      ? `${beside}. The red border marks the part that tells the two apart.`
      : `${beside}. What tells the two apart is left, the rest painted over.`;
    const whole = explains("partners") ? " Some pairs have no explanation: you then see both whole pictures." : "";
    return element(
      "div",
      { className: "legend" },
      element("span", { className: COURSE.borders ? "legend-mark" : "legend-mark part", "aria-hidden": "true" }),
      element("p", {}, marked + whole),
    );
  }

  function whereAnswersGo() {
    const what = "Recorded are your answers and how long each took, nothing about you.";
    if (turk) return `${what} They are handed in with the assignment at the end.`;
    return state.server ? `${what} They go to the server of this study.` : `${what} They stay in this browser until you download them.`;
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
    const left = remaining(phase);
    const following = left.filter((id) => id !== image).slice(0, 3);
    const picture = await load(image);
    const choices = FEW ? answerButtons() : searchedList();
    const content = element(
      "div",
      { className: FEW ? "question" : "question many" },
      frame(picture, "The picture to name"),
      element(
        "div",
        { className: "question-head" },
        element("p", { className: "eyebrow" }, heading),
        element("h1", { id: "question" }, `Which kind of ${COURSE.things[0]} is this?`),
      ),
      choices,
      extra,
    );
    // Who has a keyboard types at once. On a phone that would open its keyboard over the picture.
    const starts = FEW || TOUCH.matches ? null : choices.querySelector("input");
    return { content, title: heading, said: heading, part: phase, asks: { phase, image }, next: following, starts };
  }

  function answer(response) {
    if (!asked || performance.now() < asked.shown + GUARD) return;
    const { phase } = asked;
    record(asked, response);
    asked = null;
    if (phase !== "label") send(); // while labelling, the next picture's screen sends
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

  /** What is shown after a lesson in which `counter` is told from the right class: the pair that explains it, or, where none was made,
   * the two plain pictures; null where there is nothing to compare with. */
  function comparison(lesson, counter) {
    if (counter in lesson.pairs) return { ...lesson.pairs[counter], explained: true };
    const partner = lesson.partners?.[counter];
    return partner === undefined ? null : { image: lesson.image, partner, explained: false };
  }

  /** The pictures that may come after a lesson's answer. Those of 200 answers are too many to fetch ahead: then those of a right one. */
  function comparedPictures(lesson) {
    const shown = (FEW ? ORDER : [lesson.answer]).map((counter) => comparison(lesson, counter));
    return shown.filter((pair) => pair !== null).flatMap((pair) => [pair.image, pair.partner]);
  }

  async function feedbackScreen() {
    const trials = trialsOf("lesson");
    const { stimulus, response, correct } = trials[trials.length - 1];
    const lesson = COURSE.lessons.find((some) => some.image === stimulus);
    const verdict = element("h1", {}, correct ? "Right: it is " : "Not quite: it is ", ...namedWithArticle(lesson.label), ".");
    const last = remaining("lesson").length === 0;
    const content = element(
      "div",
      { className: "feedback" },
      element(
        "div",
        { className: `verdict ${correct ? "right" : "wrong"}` },
        element("div", {}, verdict, correct ? null : element("p", {}, "You answered ", named(response), ".")),
      ),
      // After a wrong answer that one is compared with; after a right one, the student's own counter class.
      ...(await compared(lesson, correct ? lesson.answer : response)),
      element("div", { className: "actions" }, button(last ? "Finish the lessons" : "Next lesson", () => go("lesson"), "primary")),
    );
    const done = trials.length;
    return { content, title: `Lesson ${done} of ${COURSE.lessons.length}, answer`, part: "lesson", done, total: COURSE.lessons.length };
  }

  /** The pictures after a lesson's answer, side by side under a line that says what to look for. */
  async function compared(lesson, counter) {
    const pair = comparison(lesson, counter);
    const own = lesson.label;
    // Both first: a plain picture is the one on the screen, and leaves it when it is put into the next.
    const [image, partner] = await Promise.all((pair ? [pair.image, pair.partner] : [lesson.image]).map(load));
    const described = (shown, against) => {
      if (!pair?.explained) return `${COURSE.classes[shown]}, the whole picture`;
      const marked = COURSE.borders ? "a red border around" : "only";
      return `${COURSE.classes[shown]}, with ${marked} the part that tells it from ${withArticle(COURSE.classes[against])}`;
    };
    const captioned = (picture, note, shown, against) => {
      const caption = element("figcaption", {}, element("span", {}, note), named(shown, "strong"));
      return element("figure", {}, enlargeable(picture, described(shown, against)), caption);
    };
    const asked = captioned(image, "This picture", own, counter);
    if (pair === null) return [element("div", { className: "pair" }, asked)];
    const beside = captioned(partner, "For comparison", counter, own);
    const reason = pair.explained
      ? ["What makes it ", ...namedWithArticle(own), " and not ", ...namedWithArticle(counter)]
      : ["No explanation was made for this pair; compare the whole pictures."];
    return [element("p", { className: "reason" }, ...reason), element("div", { className: "pair" }, asked, beside)];
  }

  async function testIntroScreen() {
    const right = trialsOf("lesson").filter((trial) => trial.correct).length;
    const content = element(
      "div",
      { className: "sheet" },
      element("h1", {}, "Lessons done. Now a short test"),
      element("p", { className: "lead" }, `You were right in ${right} of ${COURSE.lessons.length} lessons.`),
      element(
        "p",
        {},
        `Next come ${count(COURSE.test.length, ["new picture", "new pictures"])}. This time you are not told whether you are right. ` +
          "Answer as well as you can; where you are unsure, take your best guess.",
      ),
      element("div", { className: "actions" }, button("Start the test", () => go("test"), "primary")),
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
    const content = element(
      "div",
      { className: "sheet" },
      element("h1", {}, "Test done. Now your knowledge helps"),
      element(
        "p",
        { className: "lead" },
        `The next pictures wait for a name. Say for each which kind of ${COURSE.things[0]} it shows: as many as you like.`,
      ),
      element("p", {}, "Stop whenever you want. What you have labelled until then counts."),
      element(
        "div",
        { className: "actions" },
        button("Start labelling", () => go("label"), "primary"),
        button("Stop here", () => go("end")),
      ),
    );
    const next = state.server ? [] : remaining("label").slice(0, 2);
    return { content, title: "Labelling", part: "label", done: trialsOf("label").length, total: COURSE.label.length, next };
  }

  async function labelScreen() {
    const image = await nextToLabel();
    state.labelledAll = image === null;
    if (image === null) return go("end");
    const done = trialsOf("label").length;
    const stop = element("div", { className: "actions" }, button("Stop here", () => go("end")));
    const screen = await questionScreen("label", image, `${count(done, ["picture", "pictures"])} labelled so far`, stop);
    return { ...screen, done, total: COURSE.label.length, next: state.server ? [] : screen.next };
  }

  async function endScreen() {
    const labelled = trialsOf("label").length;
    // A server that had none left may have one later: what somebody was shown and did not answer goes to somebody else.
    const more = (state.server || !state.labelledAll) && remaining("label").length > 0;
    const right = trialsOf("lesson").filter((trial) => trial.correct).length;
    const facts = [
      ["lessons right", `${right} of ${COURSE.lessons.length}`],
      ["test pictures answered", trialsOf("test").length],
      ...(COURSE.label.length ? [["pictures labelled", labelled]] : []),
    ];
    const content = element(
      "div",
      { className: "sheet" },
      element("h1", {}, turk ? "Done. Now hand in your answers" : "Thank you, you are done"),
      element(
        "dl",
        { className: "facts" },
        ...facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))),
      ),
      element("p", { id: "hand-in" }, handInText()),
      more && state.labelledAll ? element("p", {}, "No picture is free for you now. One may be in some minutes, if somebody leaves.") : null,
      element(
        "div",
        { className: "actions" },
        turk ? submitForm() : null,
        turk ? null : Object.assign(button("Download your answers", download, "primary"), { id: "take-home" }),
        more ? button(state.labelledAll ? "Ask for more pictures" : labelled ? "Go on labelling" : "Label pictures", () => go("label")) : null,
      ),
      turk ? null : startOver(),
    );
    return { content, title: "Done", part: "end" };
  }

  /** Where the server takes nobody more, or knows this participant no more, as with another database: nothing to wait for. */
  async function refusedScreen() {
    const kept = `Your ${count(state.trials.length, ["answer is", "answers are"])} kept in this browser.`;
    const known = state.participant !== null;
    const text = known
      ? `It takes no more of your answers. ${kept} Download them and pass the file on to whoever gave you this page.`
      : "Thank you for coming. You can close the page.";
    const content = element(
      "div",
      { className: "sheet" },
      element("h1", {}, known ? "The server does not know you any more" : refused),
      element("p", {}, text),
      known ? element("div", { className: "actions" }, button("Download your answers", download, "primary")) : null,
      known ? startOver() : null,
    );
    return { content, title: "Closed", part: null };
  }

  function handInText() {
    const total = count(state.trials.length, ["answer", "answers"]);
    if (turk && !turk.target) return "The address of this page does not say where to hand in; open it from Mechanical Turk.";
    if (turk) return `${total} will be handed in.`;
    if (!state.server) return `Your ${total} are kept in this browser. Download them and pass the file on to whoever gave you this page.`;
    const untaken = state.untaken.length;
    if (state.unsent.length === 0 && untaken) {
      return `The server did not take ${untaken} of ${total}. Download them and pass the file on to whoever gave you this page.`;
    }
    if (state.unsent.length === 0) return `All ${total} have reached the server. You can close the page.`;
    const reason = trouble ? ` The last try failed: ${trouble}` : "";
    return `${state.unsent.length} of ${total} are still on their way to the server: please leave the page open.${reason}`;
  }

  /** The form that Mechanical Turk expects of an ExternalQuestion. */
  function submitForm() {
    const fields = { assignmentId: turk.assignment, build_id: COURSE.build_id, trials: JSON.stringify(state.trials) };
    const submit = element("button", { type: "submit", className: "primary", disabled: turk.target === null }, "Submit to Mechanical Turk");
    return element(
      "form",
      { method: "post", action: turk.target ?? "", onsubmit: () => setTimeout(() => (submit.disabled = true)) },
      ...Object.entries(fields).map(([name, value]) => element("input", { type: "hidden", name, value })),
      submit,
    );
  }

  /** For computers that several people use one after the other. Asks once more, since the answers leave this browser. A reload begins,
   * since what is still under way belongs to who leaves. */
  function startOver() {
    const box = element("div", { className: "actions" });
    const first = button("Start again as another person", () => {
      const keep = button("Keep my answers", () => box.replaceChildren(first));
      const forget = button("Remove my answers and start again", () => {
        state = newState();
        storage?.removeItem(KEY);
        location.reload();
      });
      const lost = state.unsent.length;
      const text = !state.server || refused
        ? "This removes your answers from this browser. Download them first."
        : lost
          ? `${count(lost, ["answer has", "answers have"])} not reached the server yet and would be lost.`
          : state.untaken.length
            ? `The server did not take ${count(state.untaken.length, ["answer", "answers"])}. Download your answers first.`
            : "This browser forgets your answers; the server has them.";
      box.replaceChildren(element("p", {}, text), forget, keep);
      keep.focus();
    });
    box.append(first);
    return box;
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

  // ---------------------------------------------------------------- menu

  let leaving = null; // the menu's way to another person; it stays as it is while the rest is brought up to date

  /** The menu, as it stands: number of answers, download, the number keys, another person. */
  function showMenu() {
    menu.hidden = state.participant === null;
    document.body.classList.toggle("no-keys", !state.keys);
    for (const [number, some] of main.querySelectorAll(".answers button").entries()) {
      if (state.keys) some.setAttribute("aria-keyshortcuts", String(number + 1));
      else some.removeAttribute("aria-keyshortcuts");
    }
    const handIn = document.getElementById("hand-in");
    if (handIn) handIn.textContent = handInText();
    const takeHome = document.getElementById("take-home");
    if (takeHome) takeHome.hidden = state.server && state.untaken.length === 0;
    if (menu.hidden) return;
    const keys = element("input", { type: "checkbox", checked: state.keys });
    keys.addEventListener("change", () => {
      state.keys = keys.checked;
      save();
    });
    const held = storage ? STAYS : "This browser keeps nothing over a reload.";
    const panel = document.getElementById("menu-panel");
    const focused = [...panel.querySelectorAll("button, input")].indexOf(document.activeElement);
    panel.replaceChildren(
      element("p", {}, `${count(state.trials.length, ["answer", "answers"])} so far. ${held}`),
      element("button", { type: "button", onclick: download }, "Download answers"),
      ...(FEW ? [element("label", {}, keys, `Keys 1 to ${COURSE.classes.length} answer`)] : []),
      ...(turk ? [] : [(leaving ??= startOver())]),
    );
    panel.querySelectorAll("button, input")[focused]?.focus();
  }

  document.addEventListener("click", (event) => {
    // By its path: a button that was pressed may be gone by now.
    if (menu.open && !event.composedPath().includes(menu)) menu.open = false;
  });

  menu.addEventListener("toggle", () => {
    if (menu.open) return;
    leaving = null;
    showMenu();
  });

  /** The digit 1 to 9 that a key stands for, or 0. Where the digits need Shift, as on French and Czech keyboards, their keys count without it
   * too. A number pad that moves the cursor (NumLock) gives no digits; what fills in forms sends keys that are none. */
  function digitOf({ key, code, shiftKey }) {
    if (/^[1-9]$/.test(key)) return Number(key);
    const sign = key?.length === 1 && key !== "0" && !shiftKey;
    return sign ? Number(/^(?:Digit|Numpad)([1-9])$/.exec(code)?.[1] ?? 0) : 0;
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
      return;
    }
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || menu.open) return;
    const number = digitOf(event);
    const next = main.querySelector("button.primary:not([hidden])"); // a download that is not offered is none by Enter either
    if (FEW && number && state.keys && number <= COURSE.classes.length) answer(number - 1);
    else if (event.key === "Enter" && !event.target.closest("a, button, input, summary")) next?.click();
  });

  // Another tab of the same course went on: follow it, or the two would overwrite each other's answers.
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY || preview) return;
    const { participant } = state;
    state = readState();
    since = performance.now();
    if (state.participant !== participant) location.reload(); // what is under way belongs to somebody else
    else show();
  });

  // The browser brings back a page as it was left, which no other tab could tell anything meanwhile: read what is remembered now.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && storage && !preview) location.reload();
  });

  window.addEventListener("online", tryNow);
  window.addEventListener("beforeunload", (event) => {
    if (!storage && !turk && state.trials.length) event.preventDefault();
  });

  state = readState();
  if (!storage && !preview) warn("This browser keeps nothing for this page: download your answers before you close or reload it.");
  show();
  send();
})();
