// The page of the chat tutorial, for the messages of consumers.py. What people
// wrote is set with textContent alone: it is text, whatever it looks like.

const { room, name } = document.body.dataset;
const log = document.getElementById("log");
const text = document.getElementById("text");
const people = new Map(); // conn -> {id, name}
let socket;

function connect() {
  const url = new URL(`/ws/chat/${room}/`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ name });
  socket = new WebSocket(url);
  socket.onopen = () => showStatus("open", "connected");
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    showStatus("waiting", "not connected, trying again");
    people.clear();
    showPeople();
    setTimeout(connect, 1000 + 2000 * Math.random());
  };
}

function receive(event) {
  switch (event.type) {
    case "chat.said":
      show(event.name, event.text);
      return;
    case "chat.joined":
    case "chat.here":
      people.set(event.conn, { id: event.id, name: event.name });
      break;
    case "chat.left":
      people.delete(event.conn);
      break;
  }
  showPeople();
}

function show(from, said) {
  const line = element("li", "message");
  line.append(element("bdi", "name", from), element("span", "text", said));
  line.lastChild.dir = "auto";
  log.append(line);
  line.scrollIntoView({ block: "end" });
}

// Somebody with several sockets is one person.
function showPeople() {
  const names = new Map([...people.values()].map((p) => [p.id, p.name]));
  document.getElementById("people").replaceChildren(...[...names.values()].sort().map((n) => element("bdi", "", n)));
}

function showStatus(state, words) {
  const status = document.getElementById("status");
  status.dataset.state = state;
  status.textContent = words;
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

document.getElementById("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!text.value.trim() || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ text: text.value }));
  text.value = "";
});

// A browser may keep a page that was left, with its socket, for the way back.
addEventListener("pagehide", () => socket.close());

connect();
