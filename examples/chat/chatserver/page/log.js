// Log shows the conversation. Everything that came from people is set with
// textContent: it is text, whatever it looks like.

import { face } from "./people.js";

const keep = 400; //            lines; older ones leave the page
const together = 3 * 60_000; // ms: messages of one person this close share a heading

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export class Log {
  #log = document.getElementById("log");
  #scroller = document.getElementById("scroller");
  #empty = document.getElementById("empty");
  #newer = document.getElementById("newer");
  #last = null; //  {from, name, at} of the last line, if it was a message
  #following = true;

  constructor() {
    this.#scroller.addEventListener("scroll", () => {
      this.#following = this.#atEnd();
      if (this.#following) this.#newer.hidden = true;
    });
    this.#newer.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.#scroller);
  }

  // message adds one, and returns its element.
  message({ from, name, text, at, mine }) {
    const line = element("div", mine ? "message mine" : "message");
    const follows = this.#last?.from === from && this.#last.name === name && at - this.#last.at < together;
    if (follows) line.classList.add("follows");
    else line.append(face(from, name));

    const body = element("div", "body");
    const meta = element("p", follows ? "meta hidden-text" : "meta");
    const time = element("time", "", clock.format(at));
    time.dateTime = new Date(at).toISOString();
    const who = element("bdi", "name", mine ? "You" : name);
    meta.append(who, " ", time);
    const said = element("p", "text", text);
    said.dir = "auto";
    body.append(meta, said);
    line.append(body);
    line.title = new Date(at).toLocaleString();

    this.#last = { from, name, at };
    this.#add(line, mine);
    return line;
  }

  // note adds a line about the room, such as who joined.
  note(text, kind = "") {
    const line = element("p", `note ${kind}`.trim(), text);
    this.#last = null;
    this.#add(line, false);
  }

  // fate says under a message of mine what became of it; "" for nothing more
  // to say. retry adds a button.
  fate(line, state, text, retry) {
    line.dataset.state = state;
    line.querySelector(".fate")?.remove();
    if (!text) return;
    const fate = element("p", "fate", text);
    if (retry) {
      const button = element("button", "", "Send again");
      button.type = "button";
      button.addEventListener("click", retry);
      fate.append(" ", button);
    }
    line.querySelector(".body").append(fate);
    if (this.#following) this.toEnd();
  }

  remove(line) {
    line.remove();
    this.#last = null;
  }

  toEnd() {
    this.#following = true;
    this.#newer.hidden = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #add(line, mine) {
    this.#empty.hidden = true;
    this.#log.append(line);
    while (this.#log.childElementCount > keep) this.#log.firstElementChild.remove();
    if (mine || this.#following) this.toEnd();
    else this.#newer.hidden = false;
  }

  #atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < 40;
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
