/**
 * What a page does to show a decision, as reader.py does it: one read, a ladder of fallbacks, never an exception.
 *
 * An ES module for Node 20 or newer, and for browsers, that needs nothing: copy it as it is into a package of
 * `"type": "module"`. How Redis is asked is up to the caller. The names and shapes are explained in CONTRACT.md, and
 * reader_vectors.json tests this file.
 *
 * @example
 * const reader = new Reader((keys) => redis.mGet(keys));
 * const user = pseudonym(userId, key, "k1");
 * const seen = await reader.read(user, { default: { hero: { kind: "variant", arm: "plain" } } });
 * seen.slots.hero.arm;
 */

export const CONTRACT_VERSION = 1;
/** How old the heartbeat may be, ms. */
export const FRESH_MS = 30_000;
/** How long Redis is waited for, ms. */
export const TIMEOUT_MS = 50;
/** Why a read was not answered from the user's own card. Of several, the first counts; see CONTRACT.md, Reading. */
export const REASONS = [
  "killed", "unreachable", "malformed", "unknown_version", "expired", "stale_heartbeat", "missing",
];

/**
 * One slot, as CONTRACT.md describes it: `kind`, and `items`, or `arm` and perhaps `params`, or `params` alone.
 * @typedef {Record<string, any>} SlotCard
 */

/**
 * What to show, and where it came from: `source` is the best rung that answered a slot (user, segment, default or
 * caller), `sources` says it for each; `reason` says why it is not the user's own card, null if it is.
 * @typedef {{slots: Record<string, SlotCard>, source: string, reason: string | null, ageMs: number | null,
 *   seq: number | null, sources: Record<string, string>}} Read
 */

/**
 * One step of the ladder: slots that may be shown, why its others may not, why the whole card may not.
 * @typedef {{name: string, slots: Map<string, SlotCard>, keptBack: Map<string, string>, reason: string | null,
 *   seq: number | null}} Rung
 */

/** Reads cards. One instance serves a whole service. */
export class Reader {
  #mget;
  #prefix;
  #freshMs;
  #timeoutMs;
  #now;

  /**
   * @param {(keys: string[]) => Promise<(string | null)[]>} mget the values of some keys, in one round trip. On a
   *   Redis Cluster the keys lie in different slots: send a GET for each, without waiting in between.
   * @param {{prefix?: string, freshMs?: number, timeoutMs?: number, now?: () => number}} [options]
   */
  constructor(mget, { prefix = "tt", freshMs = FRESH_MS, timeoutMs = TIMEOUT_MS, now = Date.now } = {}) {
    this.#mget = mget;
    this.#prefix = prefix;
    this.#freshMs = freshMs;
    this.#timeoutMs = timeoutMs;
    this.#now = now;
  }

  /**
   * Read what to show to one person; never rejects.
   * @param {string | string[]} userId the pseudonym, never the raw id; while a key rotation lasts, those under the
   *   new key and the old one, in this order: the first whose card may be shown wins, whole.
   * @param {{segment?: string | null, default: Record<string, SlotCard>}} options the person's segment, where the
   *   service knows it, and its own constant for each slot.
   * @returns {Promise<Read>}
   */
  async read(userId, { segment = null, default: constants }) {
    const now = this.#now();
    const users = [userId].flat().map((each) => `{${each}}:d`);
    const wanted = ["flags", "meta", "default:d", ...(segment ? [`seg:${segment}:d`] : []), ...users];
    const values = await this.#get(wanted);
    if (values === null) return descend([rung("caller", Object.entries(constants), "unreachable")], new Map(), now);
    const [flags, heartbeat, forAll, ...others] = values;
    const forSegment = segment ? others.shift() : null;
    const mine = firstOf(others, now);
    const pulse = mine.slots.size > 0 ? pulseReason(heartbeat, now - this.#freshMs) : null;
    const rungs = [
      pulse ? rung("user", [], pulse) : mine,
      opened("segment", forSegment, now),
      opened("default", forAll, now),
      rung("caller", Object.entries(constants)),
    ];
    return descend(rungs, killedBy(flags), now);
  }

  /**
   * Draw an arm for one person of whom there is no card, in place of a constant: see CONTRACT.md, PolicyTable. In one
   * session a person draws the same arm again, as long as its probabilities stay. Draw only for those who have agreed
   * to be decided for. Never rejects.
   * @param {string} slot a slot with arms.
   * @param {string} userId the pseudonym.
   * @param {string | number} session what tells the person's sessions apart.
   * @param {string | null} [segment] the person's segment, where the service knows it.
   * @returns {Promise<SlotCard | null>} a card whose `source` is "table"; null where nothing may be drawn.
   */
  async draw(slot, userId, session, segment = null) {
    const [flags, value] = (await this.#get(["flags", "policy"])) ?? [];
    const { said } = versioned(value);
    if (!said) return null;
    const killed = killedBy(flags);
    if (typeof killed === "string" || killed.has(slot) || heldOut(said.holdout ?? null, userId)) return null;
    return drawn(said, slot, `${userId}|${session}`, segment ?? "", this.#now());
  }

  /**
   * Get some keys; null where Redis does not answer in time, or refuses.
   * @param {string[]} keys
   * @returns {Promise<(string | null)[] | null>}
   */
  async #get(keys) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, this.#timeoutMs, null);
    });
    const asked = new Promise((resolve) => {
      resolve(this.#mget(keys.map((key) => `${this.#prefix}:${key}`)));
    });
    // Whatever the client throws, Redis did not serve us.
    const values = await Promise.race([asked.catch(() => null), late]);
    clearTimeout(timer);
    return Array.isArray(values) && values.length === keys.length ? values : null;
  }
}

/**
 * Turn a raw user id into the name under which the suite knows the person: BLAKE2b in keyed mode (RFC 7693).
 * @param {string} userId
 * @param {string | Uint8Array} key
 * @param {string} keyId
 */
export function pseudonym(userId, key, keyId) {
  const secret = typeof key === "string" ? utf8(key) : key;
  const short = secret.length > 64 ? blake2b(secret, 64) : secret;
  const hash = blake2b(utf8(userId), 12, short);
  return `${keyId}:${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Make the event that says what was really shown; send it to the topic of raw events.
 * @param {string} userId the raw id, as in every event.
 * @param {SlotCard} cardSlot
 * @param {string} shown the arm, or the item at `position`.
 * @param {number} position from 0.
 * @returns {Record<string, unknown> | null} null where the slot was a constant of the caller: nothing was decided.
 */
export function exposure(userId, cardSlot, shown, position) {
  const id = cardSlot.id;
  if (typeof id !== "string") return null;
  const slot = id.includes(".") ? id.slice(id.indexOf(".") + 1) : "";
  return { user_id: userId, kind: "exposure", slot, decision_id: id, shown, position };
}

/**
 * Map a key to a number in [0, 1), uniformly: the first 53 bits of its BLAKE2b hash.
 * @param {string} key
 */
export function ticket(key) {
  const hash = blake2b(utf8(key), 8);
  return Number(new DataView(hash.buffer).getBigUint64(0) >> 11n) * 2 ** -53;
}

/**
 * Hash bytes: BLAKE2b (RFC 7693), whose shorter digests are hashes of their own, not beginnings of the longest.
 * @param {Uint8Array} message
 * @param {number} size bytes wanted, 1 to 64.
 * @param {Uint8Array} [key] of at most 64 bytes.
 * @returns {Uint8Array}
 */
export function blake2b(message, size, key = new Uint8Array()) {
  const from = key.length > 0 ? BLOCK : 0;
  const blocks = new Uint8Array(Math.max(Math.ceil((from + message.length) / BLOCK), 1) * BLOCK);
  blocks.set(key);
  blocks.set(message, from);
  const state = BigUint64Array.from(IV);
  state[0] ^= BigInt(0x01010000 | (key.length << 8) | size);
  for (let at = 0; at < blocks.length; at += BLOCK) {
    const last = at + BLOCK === blocks.length;
    compress(state, new DataView(blocks.buffer, at), last ? from + message.length : at + BLOCK, last);
  }
  const digest = new DataView(new ArrayBuffer(64));
  state.forEach((word, place) => digest.setBigUint64(8 * place, word, true));
  return new Uint8Array(digest.buffer).slice(0, size);
}

const BLOCK = 128;
const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
/** In which order the words of a block are taken, round by round. */
const SIGMA = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
  "0123456789abcdef", "ea489fd61c02b753",
].map((row) => Array.from(row, (place) => Number.parseInt(place, 16)));
/** Which four words are mixed at once: the columns of a square, then its diagonals. */
const QUADS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

/**
 * Mix one block into the state.
 * @param {BigUint64Array} state
 * @param {DataView} block
 * @param {number} count how many bytes were read up to its end.
 * @param {boolean} last whether no other follows.
 */
function compress(state, block, count, last) {
  const words = BigUint64Array.from({ length: 16 }, (_, place) => block.getBigUint64(8 * place, true));
  const v = BigUint64Array.of(...state, ...IV);
  v[12] ^= BigInt(count);
  if (last) v[14] = ~v[14];
  for (const order of SIGMA) {
    QUADS.forEach((quad, place) => mix(v, quad, words[order[2 * place]], words[order[2 * place + 1]]));
  }
  for (let place = 0; place < 8; place += 1) state[place] ^= v[place] ^ v[place + 8];
}

/** RFC 7693's G. The array keeps the lowest 64 bits of what is put into it. */
function mix(v, [a, b, c, d], x, y) {
  v[a] += v[b] + x;
  v[d] = turned(v[d] ^ v[a], 32n);
  v[c] += v[d];
  v[b] = turned(v[b] ^ v[c], 24n);
  v[a] += v[b] + y;
  v[d] = turned(v[d] ^ v[a], 16n);
  v[c] += v[d];
  v[b] = turned(v[b] ^ v[c], 63n);
}

const turned = (word, by) => (word >> by) | (word << (64n - by));

/** @param {string} text */
const utf8 = (text) => new TextEncoder().encode(text);

/**
 * Draw from a table; null where that cannot be.
 * @param {Record<string, any>} table
 * @param {string} slot
 * @param {string} who person and session.
 * @param {string} segment
 * @param {number} now
 * @returns {SlotCard | null}
 */
function drawn({ seq, expires, seed, slots }, slot, who, segment, now) {
  if (!Number.isInteger(seq) || !Number.isInteger(expires) || typeof seed !== "string" || !isObject(slots)) return null;
  const held = own(slots, slot);
  const shares = sharesOf(held, segment);
  if (shares.length === 0 || expires <= now) return null;
  const key = `${seed}|${slot}|${who}`;
  const [arm, p] = picked(ticket(key), shares);
  const id = `cold:${nameOf(`${key}|${segment}|${seq}`)}.${slot}`;
  const params = own(held.arms, arm);
  const card = { id, kind: "variant", p, reason: held.reason, expires, arm, source: "table" };
  return params && Object.keys(params).length > 0 ? { ...card, params } : card;
}

/**
 * Give the arms of a slot of a table with their probabilities in a segment; none where it is malformed.
 * @returns {[string, number][]}
 */
function sharesOf(held, segment) {
  if (!isObject(held) || typeof held.reason !== "string" || !isObject(held.arms) || !isObject(held.segments)) return [];
  const { names, arms, segments } = held;
  const p = own(segments, segment, own(segments, ""));
  if (!Array.isArray(names) || !Array.isArray(p) || names.length !== p.length) return [];
  const texts = names.every((name) => typeof name === "string" && isObject(own(arms, name, {})));
  const whole = p.every((each) => typeof each === "number" && each >= 0 && each <= 1) && p.some((each) => each > 0);
  return texts && whole ? names.map((name, place) => [name, p[place]]) : [];
}

/** Say whose share of [0, 1) a ticket falls into; the last that has any takes what rounding leaves over. */
function picked(value, shares) {
  let reached = 0;
  for (const [arm, p] of shares) {
    reached += p;
    if (value < reached) return [arm, p];
  }
  return shares.findLast(([, p]) => p > 0);
}

/** Name a draw by what it was made from: nine bytes of its hash, in twelve letters that fit into an address. */
function nameOf(key) {
  const letters = btoa(String.fromCharCode(...blake2b(utf8(key), 9)));
  return letters.replaceAll("+", "-").replaceAll("/", "_");
}

/** Say whether nothing may be drawn for a person, because the whole is measured by them; by GrowthBook's hash, v2. */
function heldOut(holdout, userId) {
  if (holdout === null) return false;
  // What cannot be read counts for all.
  if (!isObject(holdout) || typeof holdout.share !== "number" || typeof holdout.salt !== "string") return true;
  return (fnv32a(String(fnv32a(holdout.salt + userId))) % 10_000) / 10_000 < holdout.share;
}

function fnv32a(text) {
  let found = 0x811c9dc5;
  for (const character of text) found = Math.imul(found ^ character.codePointAt(0), 0x01000193) >>> 0;
  return found;
}

/**
 * Answer each slot from the first rung that can; a killed slot starts at the global default.
 * @param {Rung[]} rungs
 * @param {Map<string, string> | string} killed
 * @param {number} now
 * @returns {Read}
 */
function descend(rungs, killed, now) {
  const all = new Set(rungs.flatMap((each) => [...each.slots.keys(), ...each.keptBack.keys()]));
  const answers = [...all].map((slot) => answer(slot, rungs, killed));
  const shown = answers.filter(({ from }) => from);
  const best = rungs.find((each) => shown.some(({ from }) => from === each)) ?? rungs.at(-1);
  const reasons = new Set(answers.map(({ reason }) => reason));
  const cardReason = typeof killed === "string" ? killed : rungs[0].reason;
  const slotReason = REASONS.find((reason) => reasons.has(reason)) ?? "missing";
  return {
    slots: Object.fromEntries(shown.map(({ slot, from }) => [slot, from.slots.get(slot)])),
    source: best.name,
    reason: best.name === "user" ? null : (cardReason ?? slotReason),
    ageMs: best.seq === null ? null : Math.max(0, now - best.seq),
    seq: best.seq,
    sources: Object.fromEntries(shown.map(({ slot, from }) => [slot, from.name])),
  };
}

/** Find the rung that answers a slot, and say why it is not the person's own card. */
function answer(slot, rungs, killed) {
  const stopped = typeof killed === "string" ? killed : killed.get(slot);
  const from = (stopped ? rungs.slice(2) : rungs).find((each) => each.slots.has(slot));
  return { slot, from, reason: stopped ?? rungs[0].keptBack.get(slot) ?? "missing" };
}

/**
 * Say which slots are off: all (a reason), or some (a reason each). A switch that cannot be read counts as thrown.
 * @param {string | null} flags
 * @returns {Map<string, string> | string}
 */
function killedBy(flags) {
  if (isNothing(flags)) return new Map();
  const said = parsed(flags);
  if (!said) return "malformed";
  const { kill = false, slots = {} } = said;
  const whole = isObject(slots) && Object.values(slots).every((on) => typeof on === "boolean");
  if (typeof kill !== "boolean" || !whole) return "malformed";
  if (kill) return "killed";
  return new Map(Object.entries(slots).filter(([, on]) => !on).map(([slot]) => [slot, "killed"]));
}

/** Say what is wrong with the heartbeat, if anything is. */
function pulseReason(heartbeat, oldest) {
  if (isNothing(heartbeat)) return "stale_heartbeat";
  const { said, reason } = versioned(heartbeat);
  if (!said) return reason;
  if (!Number.isInteger(said.seq)) return "malformed";
  return said.seq >= oldest ? null : "stale_heartbeat";
}

/** Open a person's cards, one a pseudonym, up to the first that may be shown; of none the first says why. */
function firstOf(values, now) {
  const tried = values.map((value) => opened("user", value, now));
  return tried.find((each) => each.slots.size > 0) ?? tried[0] ?? rung("user", [], "missing");
}

/** @returns {Rung} */
function rung(name, slots, reason = null, keptBack = [], seq = null) {
  return { name, slots: new Map(slots), keptBack: new Map(keptBack), reason, seq };
}

/** Open one card. */
function opened(name, value, now) {
  if (isNothing(value)) return rung(name, [], "missing");
  const { said, reason } = versioned(value);
  if (!said) return rung(name, [], reason);
  const { seq, expires, slots } = said;
  if (!Number.isInteger(seq) || !Number.isInteger(expires) || !isObject(slots)) return rung(name, [], "malformed");
  if (expires <= now) return rung(name, [], "expired");
  const judged = Object.entries(slots).map(([slot, held]) => [slot, held, slotReason(held, now)]);
  const good = judged.filter(([, , why]) => !why).map(([slot, held]) => [slot, held]);
  const keptBack = judged.filter(([, , why]) => why).map(([slot, , why]) => [slot, why]);
  return rung(name, good, null, keptBack, seq);
}

/** Say why a slot may not be shown, if so. */
function slotReason(slot, now) {
  const whole = isObject(slot) && typeof slot.id === "string" && Number.isInteger(slot.expires) && saysSomething(slot);
  if (!whole) return "malformed";
  return slot.expires <= now ? "expired" : null;
}

/** Say whether a slot holds what its kind promises; a kind nobody knows promises nothing. */
function saysSomething({ kind, items, arm, params }) {
  if (kind === "rerank") return Array.isArray(items) && items.every((item) => typeof item === "string");
  if (kind === "params") return isObject(params);
  // The arm "none" of a trigger shows nothing.
  return ["variant", "trigger"].includes(kind) && typeof arm === "string" && (isNothing(params) || isObject(params));
}

/** Open a JSON object of a version this reader knows. The version comes first: another one may have any shape. */
function versioned(value) {
  const said = parsed(value);
  if (!said || !Number.isInteger(said.v)) return { said: null, reason: "malformed" };
  return said.v === CONTRACT_VERSION ? { said, reason: null } : { said: null, reason: "unknown_version" };
}

/** Open a JSON object; null for anything else. */
function parsed(value) {
  try {
    const said = typeof value === "string" ? JSON.parse(value) : null;
    return isObject(said) ? said : null;
  } catch {
    return null;
  }
}

/** Look a name up; unlike a property of the object, not those that every object has. */
const own = (object, name, otherwise) => (Object.hasOwn(object, name) ? object[name] : otherwise);
const isNothing = (value) => value === null || value === undefined;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
