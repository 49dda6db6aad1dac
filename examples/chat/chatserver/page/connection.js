// A Connection keeps a socket to the room open for as long as the page lives.
// It expects sockets to die: of age, with a server that restarts, with the
// network. It opens the next one by itself, after a random delay, so that ten
// thousand pages that lose one server do not arrive at the next in one instant.

const goingAway = 1001; // the server closes on purpose: age, or a restart
const quiet = 2500; //     ms: a planned reconnection this quick goes unmentioned
const soon = 1000; //      ms: upper bound of the first delay after a planned close
const base = 500; //       ms: upper bound of the first delay after a loss; doubles
const longest = 15_000; // ms: where it stops doubling
const shortest = 200; //   ms: no delay after a loss is below this
const opening = 10_000; // ms: how long a socket may take to open
const beat = 25_000; //    ms: how often the page asks whether the server is there
const patience = 8_000; // ms: how long the answer may take

export class Connection {
  #url;
  #on;
  #socket = null;
  #welcomed = false; // the server has let this socket into the room
  #attempt = 0;
  #lostAt = 0; //      when the last good socket ended; 0 while one is open
  #planned = false;
  #retryAt = 0;
  #timers = { retry: 0, quiet: 0, beat: 0, patience: 0 };

  // url() gives the address for the next attempt. on.frame gets each frame,
  // parsed; on.lost() tells that a socket which was in the room is gone;
  // on.state gets {state, retryAt}, where state is one of
  //   connecting   the first time
  //   open         in the room
  //   resuming     between two sockets, on purpose: no reason to worry anyone
  //   waiting      the connection is lost; the next attempt is at retryAt
  //   retrying     the connection is lost; an attempt is under way
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    addEventListener("online", () => this.check());
    addEventListener("offline", () => this.check());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.check();
    });
  }

  get isOpen() {
    return this.#welcomed;
  }

  // start opens the connection, or opens it anew with what url() says now.
  start() {
    const again = this.#lostAt || this.#socket;
    this.#drop();
    this.#attempt = 0;
    if (again) this.#lose(true, 0);
    else this.#open();
  }

  // send returns whether the frame was handed to a socket. That is no promise
  // that it arrived.
  send(frame) {
    if (!this.#welcomed) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  // check makes sure of the connection now: it asks the server, or ends a wait.
  check() {
    if (this.#socket) {
      this.#ask();
    } else if (this.#timers.retry) {
      this.#open();
    }
  }

  #open() {
    this.#clear("retry");
    const socket = new WebSocket(this.#url());
    this.#socket = socket;
    this.#tell();
    this.#set("patience", opening, () => this.#end(false));
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#end(event.code === goingAway);
  }

  #receive(data) {
    this.#clear("patience");
    const frame = JSON.parse(data);
    if (frame.type === "chat.pong") return;
    if (frame.type === "chat.welcome") {
      this.#welcomed = true;
      this.#attempt = 0;
      this.#lostAt = 0;
      this.#clear("quiet");
      this.#set("beat", beat, () => this.#ask());
      this.#tell();
    }
    this.#on.frame(frame);
  }

  // #ask sends a ping that any frame answers. A browser does not show its
  // pages the pings of the protocol itself.
  #ask() {
    if (!this.send({ type: "ping" })) return;
    if (!this.#timers.patience) this.#set("patience", patience, () => this.#end(false));
    this.#set("beat", beat, () => this.#ask());
  }

  // #end is for a socket that ended, or that is given up.
  #end(planned) {
    const wasIn = this.#welcomed;
    this.#drop();
    // A refused attempt does not turn a planned absence into an alarm: time does.
    this.#planned = wasIn ? planned : this.#planned;
    const bound = Math.min(longest, base * 2 ** this.#attempt++);
    const delay = wasIn && planned ? Math.random() * soon : Math.max(shortest, Math.random() * bound);
    this.#lose(this.#planned, delay);
  }

  #lose(planned, delay) {
    if (!this.#lostAt) {
      this.#lostAt = performance.now();
      this.#planned = planned;
      this.#set("quiet", quiet, () => this.#tell());
      this.#on.lost();
    }
    this.#retryAt = performance.now() + delay;
    this.#set("retry", delay, () => this.#open());
    this.#tell();
  }

  #drop() {
    for (const name of ["retry", "beat", "patience"]) this.#clear(name);
    this.#welcomed = false;
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #tell() {
    this.#on.state({ state: this.#state(), retryAt: this.#retryAt });
  }

  #state() {
    if (this.#welcomed) return "open";
    if (!this.#lostAt) return "connecting";
    if (this.#planned && performance.now() - this.#lostAt < quiet - 50) return "resuming";
    return this.#socket ? "retrying" : "waiting";
  }

  #set(name, delay, then) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(() => {
      this.#timers[name] = 0;
      then();
    }, delay);
  }

  #clear(name) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = 0;
  }
}
