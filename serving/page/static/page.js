// The live part of the page: parts that changed come as HTML over one stream of server-sent events and are folded into
// what is there, node by node, so that focus, selection and opened details stay where the reader left them.
"use strict";

const connection = document.getElementById("connection");
const announcer = document.getElementById("announcer");
const RETRY_MILLISECONDS = 3000;

// --- folding new HTML into the page ---

/** Make `old` say what `fresh` says; elements with the same id stay the same, and what is marked as kept stays as it is. */
function fold(old, fresh) {
  if (old.hasAttribute("data-kept")) return;
  foldAttributes(old, fresh);
  const named = new Map();
  for (const child of old.children) if (child.id) named.set(child.id, child);
  let place = old.firstChild;
  for (const node of Array.from(fresh.childNodes)) {
    let match = node.id ? named.get(node.id) : place;
    if (match && !alike(match, node)) match = null;
    if (!match) {
      old.insertBefore(node, place);
      if (node.id && node.matches("[data-new]")) node.classList.add("fresh");
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    if (match.nodeType === Node.ELEMENT_NODE) fold(match, node);
    else if (match.data !== node.data) match.data = node.data;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function alike(one, other) {
  return one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

const OURS = new Set(["open", "class", "disabled"]);

function foldAttributes(old, fresh) {
  for (const { name, value } of Array.from(fresh.attributes)) {
    if (old.getAttribute(name) !== value && !(name === "class" && old.classList.contains("fresh"))) {
      old.setAttribute(name, value);
    }
  }
  for (const { name } of Array.from(old.attributes)) {
    if (!fresh.hasAttribute(name) && !OURS.has(name)) old.removeAttribute(name);
  }
}

function show(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  const parsed = new DOMParser().parseFromString(html, "text/html").body;
  const shell = old.cloneNode(false);
  shell.append(...parsed.childNodes);
  fold(old, shell);
}

// --- the stream ---

let stream = null;
let version = "";

function connect() {
  if (stream || document.hidden) return;
  const user = document.body.dataset.user;
  const address = new URL("page/live", document.baseURI);
  if (user !== undefined) {
    address.searchParams.set("user", user);
    address.searchParams.set("hours", document.body.dataset.hours || "");
  }
  stream = new EventSource(address);
  stream.addEventListener("open", () => say("live", "Live"));
  stream.addEventListener("hello", (event) => {
    if (version && version !== event.data) location.reload(); // the server was updated: our scripts are old
    version = event.data;
  });
  stream.addEventListener("part", (event) => {
    const part = JSON.parse(event.data);
    show(part.id, part.html);
  });
  stream.addEventListener("news", (event) => {
    announcer.textContent = event.data;
  });
  stream.addEventListener("error", () => {
    say("lost", "Connection lost, trying again");
    if (stream.readyState === EventSource.CLOSED) {
      stop();
      setTimeout(connect, RETRY_MILLISECONDS);
    }
  });
}

function stop() {
  if (stream) stream.close();
  stream = null;
}

function say(state, text) {
  if (connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.textContent = text;
}

// A page nobody sees keeps no connection: browsers allow six to a server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stop();
    say("paused", "Paused");
  } else connect();
});
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", connect);

// --- feedback ---

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-verdict]");
  if (!button || button.disabled) return;
  const group = button.closest("[data-alert]");
  const message = group.querySelector(".message");
  const buttons = group.querySelectorAll("button");
  message.removeAttribute("data-kept");
  message.textContent = "Saving";
  for (const one of buttons) one.disabled = true;
  try {
    const answer = await fetch(new URL(`alerts/${encodeURIComponent(group.dataset.alert)}/feedback`, document.baseURI), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ verdict: button.dataset.verdict === "true" }),
    });
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Error(problem.detail || `The server answered ${answer.status}.`);
    }
    for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
    message.textContent = "Saved, thank you";
  } catch (error) {
    message.textContent = `Not saved. ${error.message}`;
    message.setAttribute("data-kept", ""); // until the next attempt
  } finally {
    for (const one of buttons) one.disabled = false;
    if (document.activeElement === document.body) button.focus();
  }
});

connect();
