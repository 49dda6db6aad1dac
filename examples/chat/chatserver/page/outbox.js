// Outbox follows what this page says until the server has said it to the room.
// Delivery is at most once, so it never repeats by itself what may have
// arrived: a message that no socket has taken waits and is sent later; one that
// a lost socket has taken is shown as uncertain, and its writer decides.

const mostWaiting = 5;

export class Outbox {
  #log;
  #connection;
  #me;
  #mine = new Map(); // ref -> {ref, text, line, taken}

  // me() gives {id, name} for new messages.
  constructor(log, connection, me) {
    this.#log = log;
    this.#connection = connection;
    this.#me = me;
  }

  // full tells that no more should be written before the connection is back.
  get full() {
    let waiting = 0;
    for (const message of this.#mine.values()) if (!message.taken) waiting++;
    return waiting >= mostWaiting;
  }

  say(text) {
    const { id, name } = this.#me();
    const line = this.#log.message({ from: id, name, text, at: Date.now(), mine: true });
    const message = { ref: crypto.getRandomValues(new Uint32Array(2)).join("-"), text, line, taken: false };
    this.#mine.set(message.ref, message);
    this.#try(message);
  }

  // flush sends what waited for a connection.
  flush() {
    for (const message of this.#mine.values()) if (!message.taken) this.#try(message);
  }

  // lost tells that the socket is gone which took what is not confirmed.
  lost() {
    for (const message of this.#mine.values()) {
      if (message.taken) this.#giveUp(message, "uncertain", "May not have arrived.");
    }
  }

  // confirm tells that the room was told; it returns whether this page asked.
  confirm(ref) {
    const message = this.#mine.get(ref);
    if (!message) return false;
    this.#mine.delete(ref);
    this.#log.fate(message.line, "said", "");
    return true;
  }

  // refuse tells that the server did not take the message, and why.
  refuse(ref, why) {
    const message = this.#mine.get(ref);
    if (message) this.#giveUp(message, "refused", why);
    return Boolean(message);
  }

  #try(message) {
    message.taken = this.#connection.send({ type: "say", ref: message.ref, text: message.text });
    if (message.taken) this.#log.fate(message.line, "taken", "");
    else this.#log.fate(message.line, "waiting", "Will be sent when the connection is back.");
  }

  #giveUp(message, state, text) {
    this.#mine.delete(message.ref);
    this.#log.fate(message.line, state, text, () => {
      this.#log.remove(message.line);
      this.say(message.text);
    });
  }
}
