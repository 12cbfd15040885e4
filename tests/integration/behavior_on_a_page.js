// Runs docs/examples/behavior.js under node as on a page, against the collector named by the first argument.
// Prints a JSON object: what was sent, how often it was tried, and what went out as beacons.
"use strict";

const [url, script] = process.argv.slice(2);
const page = (globalThis.document = new EventTarget());
const shown = new EventTarget();
globalThis.addEventListener = shown.addEventListener.bind(shown);
const said = { ids: [], tries: [], beacons: [] };
Object.defineProperty(globalThis, "navigator", {
  value: { sendBeacon: (_, body) => said.beacons.push(body) > 0 },
});

const real = globalThis.fetch;
let answered = () => {};
let lose = 0;
let hang = false;
globalThis.fetch = async (to, request) => {
  said.tries.push(request.body.split("\n").map((line) => JSON.parse(line).event_id));
  if (hang) return new Promise(() => {});
  const answer = await real(to, request);
  setImmediate(() => answered());
  // The events are on Kafka, but the page hears of it in no way, or of a failure.
  if (lose-- > 1) return new Response("", { status: 503, headers: { "Retry-After": "0" } });
  if (lose === 0) throw new TypeError("lost");
  return answer;
};
const nextAnswer = () => new Promise((resolve) => (answered = resolve));

require(script);
const behavior = startBehavior({ url, userId: "page", waitMs: 10, batchEvents: 3, firstPauseMs: 20 });

(async () => {
  lose = 2;
  for (let n = 0; n < 5; n += 1) said.ids.push(behavior.send("view", "/", { n: String(n) }));
  for (let n = 0; n < 4; n += 1) await nextAnswer();
  await new Promise((resolve) => setImmediate(resolve));
  hang = true;
  said.ids.push(behavior.send("click", "/under-way"));
  behavior.flush();
  said.ids.push(behavior.send("click", "/waiting"));
  page.visibilityState = "hidden";
  page.dispatchEvent(new Event("visibilitychange"));
  shown.dispatchEvent(new Event("pagehide"));
  for (const body of said.beacons) await real(url, { method: "POST", body });
  console.log(JSON.stringify(said));
  process.exit(0);
})();
