/** Answers all golden vectors with reader.js, one JSON object to the standard output: node run_vectors.mjs SCHEMAS. */

import { readFileSync } from "node:fs";

const [folder] = process.argv.slice(2);
// By its text, so that it is a module whatever the package around it says.
const source = readFileSync(`${folder}/reader.js`, "utf8");
const { Reader, exposure, pseudonym, ticket } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const vectors = JSON.parse(readFileSync(`${folder}/reader_vectors.json`, "utf8"));

function readerOf({ keys, now, unreachable }) {
  const mget = async (names) => {
    if (unreachable) throw new Error("connection refused");
    return names.map((name) => keys[name] ?? null);
  };
  return new Reader(mget, { now: () => now });
}

async function readOf(vector) {
  const { user_id: userId, ...options } = vector.read;
  const { ageMs, ...read } = await readerOf(vector).read(userId, options);
  return { age_ms: ageMs, ...read };
}

async function drawOf(vector) {
  const { slot, user_id: userId, session, segment } = vector.draw;
  const value = ticket(`trimtab-1|${slot}|${userId}|${session}`);
  return { value, card: await readerOf(vector).draw(slot, userId, session, segment) };
}

/** Clients that never answer, refuse, throw at once, or answer something else. */
const TROUBLES = [
  () => new Promise(() => {}),
  async () => Promise.reject(new Error("timed out")),
  () => {
    throw new Error("closed");
  },
  async () => undefined,
];

async function troubleOf(mget) {
  const reader = new Reader(mget);
  const { source, reason } = await reader.read("k1:0af1", { default: { hero: { kind: "variant", arm: "plain" } } });
  return { source, reason, draw: await reader.draw("hero", "k1:0af1", 7) };
}

const answers = {
  reads: await Promise.all(vectors.reads.map(readOf)),
  draws: await Promise.all(vectors.draws.map(drawOf)),
  pseudonyms: vectors.pseudonyms.map((each) => pseudonym(each.user_id, each.key, each.key_id)),
  troubles: await Promise.all(TROUBLES.map(troubleOf)),
  exposures: vectors.exposures.map((each) => exposure(each.user_id, each.card_slot, each.shown, each.position)),
};
console.log(JSON.stringify(answers));
