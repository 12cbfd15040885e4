// Sends what a visitor does to the collector's POST /events. See docs/how-to/collector.md.
//
//   <script src="behavior.js"></script>
//   <script>
//     const behavior = startBehavior({ url: "https://collect.example/events", userId: "123" });
//     behavior.send("view", location.pathname);
//     button.addEventListener("click", () => behavior.send("click", location.pathname, { button: "buy" }));
//   </script>
//
// Events are collected and sent in batches. Each gets its event_id before the first try, so an event that is sent
// again counts once. What a page still holds when it is left goes out as a beacon.
"use strict";

globalThis.startBehavior = function startBehavior({
  url,
  userId,
  sessionId = crypto.randomUUID(), // needs https, or localhost
  waitMs = 2000, // how long an event waits for others
  batchEvents = 100, // at most collector.max_events
  batchBytes = 60000, // browsers take 64 KiB at once from a page that is being left
  keptEvents = 2000, // beyond it the oldest are dropped
  firstPauseMs = 1000, // before the first retry; then twice as long each time, up to a minute
}) {
  const encoder = new TextEncoder();
  let waiting = []; // lines not yet sent
  let underWay = []; // lines sent and not yet answered
  let timer = null;
  let failures = 0;

  function send(action, page, properties) {
    const event = {
      event_id: crypto.randomUUID(),
      user_id: userId,
      session_id: sessionId,
      action,
      page,
      timestamp: new Date().toISOString(),
    };
    waiting.push(JSON.stringify(properties ? { ...event, properties } : event));
    keepNewest();
    if (waiting.length >= batchEvents && failures === 0) flush();
    else later(waitMs);
    return event.event_id;
  }

  function keepNewest() {
    if (waiting.length > keptEvents) waiting = waiting.slice(-keptEvents);
  }

  function later(ms) {
    timer ??= setTimeout(flush, ms);
  }

  // Takes the next lines that fit into one request, at least one.
  function take() {
    let bytes = 0;
    let count = 0;
    while (count < waiting.length && count < batchEvents) {
      bytes += encoder.encode(waiting[count]).length + 1;
      if (count > 0 && bytes > batchBytes) break;
      count += 1;
    }
    return waiting.splice(0, count);
  }

  async function flush() {
    clearTimeout(timer);
    timer = null;
    if (underWay.length > 0 || waiting.length === 0) return; // one request at a time keeps the order
    const batch = (underWay = take());
    let pause = 0;
    try {
      // As a string it is text/plain, which a browser sends to another origin without asking first.
      const answer = await fetch(url, { method: "POST", body: batch.join("\n"), keepalive: true, credentials: "omit" });
      if (answer.status === 429 || answer.status >= 500 || answer.status === 408) {
        pause = 1000 * (Number(answer.headers.get("Retry-After")) || 0) || 1;
      } else if (!answer.ok) {
        console.warn(`behavior: events were refused (${answer.status})`); // sending them again would not help
      }
    } catch {
      pause = 1; // no network, or no answer
    }
    const gone = underWay !== batch; // a beacon has taken them meanwhile
    if (!gone) underWay = [];
    if (pause === 0) {
      failures = 0;
    } else {
      if (!gone) waiting = batch.concat(waiting);
      keepNewest();
      const growing = Math.min(firstPauseMs * 2 ** failures, 60000);
      failures += 1;
      later(Math.max(pause, growing) * (1 + Math.random() / 2)); // so that not all pages come back at once
      return;
    }
    if (waiting.length > 0) later(waiting.length >= batchEvents ? 0 : waitMs);
  }

  // A beacon is not answered. What is under way goes along: if both arrive, each event still counts once.
  function leave() {
    waiting = underWay.concat(waiting);
    underWay = [];
    while (waiting.length > 0) {
      const batch = take();
      if (!navigator.sendBeacon(url, batch.join("\n"))) {
        waiting = batch.concat(waiting); // the browser's queue is full: for when the page comes back
        later(waitMs);
        return;
      }
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") leave();
  });
  addEventListener("pagehide", leave); // some browsers leave a page without hiding it first

  return { send, flush, leave };
};
