// The page: it joins the parts, and the parts to what a person does.

import { Connection } from "./connection.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { People, face } from "./people.js";

const $ = (id) => document.getElementById(id);

const room = location.pathname.startsWith("/room/") ? decodeURIComponent(location.pathname.slice("/room/".length)) : "";
const me = { id: "me", name: recall(localStorage, "chat.name") };
// key is this tab's secret. The server makes the public id of it, so that a
// tab that reconnects or reloads is the same person, and nobody else is.
const key = recall(sessionStorage, "chat.key") || crypto.getRandomValues(new Uint32Array(4)).join("-");
remember(sessionStorage, "chat.key", key);

let title = "Chat";
let unseen = 0;

const log = new Log();
const people = new People({ changed: showPeople, note: (text) => log.note(text) });
const connection = new Connection(address, { frame: receive, lost: () => outbox.lost(), state: showState });
const outbox = new Outbox(log, connection, () => me);

// What the server says.

function receive(frame) {
  switch (frame.type) {
    case "chat.welcome":
      me.id = frame.id;
      $("crowd").hidden = frame.listed;
      people.welcome({ id: frame.id, name: frame.name, conn: frame.conn });
      outbox.flush();
      break;
    case "chat.said":
      if (frame.from === me.id && outbox.confirm(frame.ref)) break;
      log.message({ ...frame, mine: frame.from === me.id });
      countUnseen();
      break;
    case "chat.joined":
      people.joined(frame);
      break;
    case "chat.left":
      people.left(frame);
      break;
    case "chat.here":
      people.here(frame);
      break;
    case "chat.gap":
      log.note("The servers lost sight of each other for a moment. What others said then may be missing.", "warning");
      break;
    case "chat.error":
      if (!outbox.refuse(frame.ref, frame.text)) log.note(frame.text, "warning");
      break;
  }
}

function address() {
  const url = new URL("/socket", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ room, name: me.name, key });
  return url;
}

// How the connection is.

const words = {
  connecting: "Connecting…",
  open: "Connected",
  resuming: "Reconnecting…",
  waiting: "Connection lost",
  retrying: "Reconnecting…",
};
let countdown = 0;
let wasLost = 0; //     when the page began to say so
let wasResuming = false;

function showState({ state, retryAt }) {
  const status = $("status");
  status.dataset.state = state;
  if (status.textContent !== words[state]) status.textContent = words[state];

  const lost = state === "waiting" || state === "retrying";
  clearInterval(countdown);
  $("lost").hidden = !lost;
  if (lost) {
    wasLost ||= Date.now();
    // Set once, so that a screen reader says it once.
    if (!$("lost-text").textContent) $("lost-text").textContent = "The connection is lost. What others say meanwhile will not reach this page.";
    const count = () => {
      const seconds = Math.ceil((retryAt - performance.now()) / 1000);
      $("countdown").textContent = state === "retrying" ? "Trying…" : `Next try in ${Math.max(1, seconds)} s`;
    };
    count();
    countdown = setInterval(count, 250);
  } else {
    $("lost-text").textContent = "";
  }
  if (state === "resuming") wasResuming = true;
  if (state === "open") {
    if (wasLost) log.note(`Connected again after ${away(Date.now() - wasLost)}. What others said meanwhile is missing here.`);
    else if (wasResuming) log.note("Reconnected. What others said in that moment may be missing.");
    wasLost = 0;
    wasResuming = false;
  }
  showSendable();
}

function away(ms) {
  const seconds = Math.max(1, Math.round(ms / 1000));
  if (seconds < 90) return seconds === 1 ? "a second" : `${seconds} seconds`;
  return `${Math.round(seconds / 60)} minutes`;
}

// Who is here.

function showPeople(everyone) {
  $("people-count").textContent = everyone.length;
  $("people").replaceChildren(
    ...everyone.map((person) => {
      const item = document.createElement("li");
      const name = document.createElement("bdi");
      name.textContent = person.name;
      item.append(face(person.id, person.name), name);
      if (person.me) {
        const you = document.createElement("span");
        you.className = "you";
        you.textContent = "you";
        item.append(you);
      }
      return item;
    }),
  );
}

function togglePeople(open) {
  document.body.classList.toggle("people-open", open);
  $("people-toggle").setAttribute("aria-expanded", open);
}

$("people-toggle").addEventListener("click", () => {
  const open = !document.body.classList.contains("people-open");
  togglePeople(open);
  if (open) $("people-close").focus();
});
$("people-close").addEventListener("click", () => {
  togglePeople(false);
  $("people-toggle").focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("people-open")) $("people-close").click();
});

// Writing.

const text = $("text");

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const said = text.value.trim();
  if (!said || outbox.full) return;
  outbox.say(said);
  text.value = "";
  fit();
  showSendable();
  text.focus();
});
text.addEventListener("input", () => {
  fit();
  showSendable();
});
// Enter sends, and with Shift makes a new line. What a line break is, is asked
// of the input: keyboards on a screen often do not tell which key it was.
let shifted = false;
text.addEventListener("keydown", (event) => (shifted = event.shiftKey));
text.addEventListener("beforeinput", (event) => {
  if (event.inputType !== "insertLineBreak" || shifted) return;
  event.preventDefault();
  $("composer").requestSubmit();
});

function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`; // and the border
}

function showSendable() {
  $("send").disabled = outbox.full || !text.value.trim();
  $("composer-note").textContent = outbox.full && !connection.isOpen ? "More can be sent when the connection is back." : "";
}

$("retry").addEventListener("click", () => {
  connection.check();
  text.focus();
});

// The window's title tells what was said while nobody looked.

function countUnseen() {
  if (document.visibilityState === "visible") return;
  unseen++;
  document.title = `(${unseen}) ${title}`;
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  unseen = 0;
  document.title = title;
});

// Coming in.

const join = $("join");

function askName() {
  $("name").value = me.name;
  $("room").value = room || "lobby";
  const inside = Boolean(room && me.name);
  $("join-heading").textContent = inside ? "Name and room" : "Come in";
  $("join-submit").textContent = inside ? "Change" : "Enter";
  $("join-cancel").hidden = !inside;
  join.showModal();
  (me.name && !room ? $("room") : $("name")).select();
}

$("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  const wanted = $("room").value.trim();
  if (!name || !wanted) return;
  const renamed = name !== me.name;
  me.name = name;
  remember(localStorage, "chat.name", name);
  if (wanted !== room) {
    location.assign(`/room/${encodeURIComponent(wanted)}`);
    return;
  }
  join.close();
  togglePeople(false);
  if (renamed) connection.start();
  text.focus();
});
$("join-cancel").addEventListener("click", () => join.close());
join.addEventListener("cancel", (event) => {
  if ($("join-cancel").hidden) event.preventDefault();
});
$("rename").addEventListener("click", askName);

if (navigator.clipboard) {
  const share = $("share");
  share.hidden = !room;
  share.addEventListener("click", async () => {
    await navigator.clipboard.writeText(location.href);
    share.textContent = "Copied";
    setTimeout(() => (share.textContent = "Copy link"), 2000);
  });
}

// Storage may be refused (private windows, settings): the page works without.

function recall(storage, key) {
  try {
    return storage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function remember(storage, key, value) {
  try {
    storage.setItem(key, value);
  } catch {}
}

if (room) {
  title = room;
  document.title = title;
  $("title").textContent = room;
}
showSendable();
if (room && me.name) {
  connection.start();
  text.focus();
} else {
  askName();
}
