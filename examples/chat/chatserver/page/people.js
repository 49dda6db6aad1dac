// People knows who is in the room, from what the layer says about each socket:
// joined, left, and "here" in answer to this page's own question.
//
// A person is an id; a socket of theirs is a conn. Sockets come and go more
// often than people do: a person is here while any socket of theirs is, and
// for a grace period after. So a reconnection, also one whose old socket is
// only found dead later, changes nothing on anybody's page. A person's name is
// that of the socket that joined last: one not yet found dead has the old name.

const grace = 6000; // ms

export class People {
  #all = new Map(); // id -> {id, name, conns (conn -> name), timer}
  #me;
  #on;

  // on.changed(people) gets everyone, me first; on.note(text) what to tell.
  constructor(on) {
    this.#on = on;
  }

  // welcome starts over with me alone: whoever else is here will answer. Those
  // who do not answer within the grace period have left meanwhile.
  welcome(me) {
    for (const person of this.#all.values()) {
      person.conns.clear();
      this.#expect(person, false);
    }
    this.#me = me.id;
    this.#add(me).name = me.name;
    this.#changed();
  }

  here(person) {
    this.#add(person);
    this.#changed();
  }

  joined(person) {
    const known = this.#all.get(person.id);
    const before = known?.name;
    this.#add(person).name = person.name;
    if (person.id !== this.#me) {
      if (!known) this.#on.note(`${isolated(person.name)} joined`);
      else if (before !== person.name) this.#on.note(`${isolated(before)} is now ${isolated(person.name)}`);
    }
    this.#changed();
  }

  left({ id, conn }) {
    const person = this.#all.get(id);
    if (!person || id === this.#me) return;
    person.conns.delete(conn);
    if (person.conns.size === 0) {
      this.#expect(person, true);
    } else {
      person.name = [...person.conns.values()].at(-1);
      this.#changed();
    }
  }

  #add({ id, name, conn }) {
    let person = this.#all.get(id);
    if (!person) this.#all.set(id, (person = { id, conns: new Map(), timer: 0 }));
    if (person.conns.size === 0) person.name = name;
    person.conns.set(conn, name);
    clearTimeout(person.timer);
    return person;
  }

  // #expect gives a person without sockets time to come back.
  #expect(person, tell) {
    clearTimeout(person.timer);
    person.timer = setTimeout(() => {
      this.#all.delete(person.id);
      if (tell) this.#on.note(`${isolated(person.name)} left`);
      this.#changed();
    }, grace);
  }

  #changed() {
    const others = [...this.#all.values()].filter((person) => person.id !== this.#me);
    others.sort((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id));
    const me = this.#all.get(this.#me);
    this.#on.changed(me ? [{ ...me, me: true }, ...others] : others);
  }
}

// isolated makes a name fit for a sentence, whatever direction it runs in.
function isolated(name) {
  return `\u2068${name}\u2069`;
}

// face makes the small round picture of a person: a letter, on a colour that
// belongs to the id.
export function face(id, name) {
  const span = document.createElement("span");
  span.className = "face";
  span.setAttribute("aria-hidden", "true");
  span.textContent = firstLetter(name);
  let hash = 0;
  for (const char of id) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  span.style.setProperty("--hue", hash % 360);
  return span;
}

function firstLetter(name) {
  const { value } = new Intl.Segmenter().segment(name.trim())[Symbol.iterator]().next();
  return (value?.segment ?? "?").toLocaleUpperCase();
}
