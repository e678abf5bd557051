// The log's lines, as bytes: split, read, and held against their hashes.
// docs/format.md says what a line is.

const tail = /,"hash":"([0-9a-f]{64})"\}$/;
const tailLength = ',"hash":""}'.length + 64;
export const zeros = '0'.repeat(64);

const utf8 = new TextEncoder();

// canHash is false where the browser keeps its cryptography from the page: over
// http on an address that is not this machine.
export const canHash = globalThis.crypto?.subtle !== undefined;

// eventOf is the stored line in a message of the stream, as it came.
export function eventOf(message) {
  return message.slice('{"type":"audit","event":'.length, -1);
}

// split takes an answer apart that has objects in its first list, such as that
// of GET /v1/audit/events: these as they came, and the rest.
export function split(answer) {
  const begin = answer.indexOf('[') + 1;
  const lines = [];
  let depth = 0;
  let start = begin;
  let i = begin;
  for (; i < answer.length; i++) {
    switch (answer.charCodeAt(i)) {
      case 0x22: // a string: on to the quote that is not escaped
        for (i++; answer.charCodeAt(i) !== 0x22 && i < answer.length; i++) if (answer.charCodeAt(i) === 0x5c) i++;
        break;
      case 0x7b: // {
        if (depth++ === 0) start = i;
        break;
      case 0x7d: // }
        if (--depth === 0) lines.push(answer.slice(start, i + 1));
        break;
      case 0x5d: // ], and not one within an object
        if (depth === 0) return { lines, rest: JSON.parse(answer.slice(0, begin) + answer.slice(i)) };
    }
  }
  throw new SyntaxError('the answer is cut off');
}

// member is the text of an object's member, as it came.
export function member(object, name) {
  let depth = 0;
  let start = -1;
  let key = '';
  for (const { 0: token, index } of object.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/gs)) {
    if (start >= 0 && depth === 1 && (token === ',' || token === '}')) return object.slice(start, index);
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && token === ':' && key === `"${name}"`) start = index + 1;
    else if (depth === 1) key = token;
  }
  return '';
}

export async function sha256(text) {
  const digest = await crypto.subtle.digest('SHA-256', utf8.encode(text));
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, '0')).join('');
}

// check reads a line and recomputes its hash. fits is null where this browser
// cannot tell, and event is null where the line is none.
export async function check(line) {
  const stated = tail.exec(line.slice(-tailLength))?.[1] ?? '';
  let event = null;
  try {
    event = rowable(JSON.parse(line));
  } catch {
    return { line, event, hash: stated, computed: '', fits: false };
  }
  if (!canHash) return { line, event, hash: stated, computed: '', fits: null };
  const computed = await sha256(line.slice(0, -tailLength) + '}');
  return { line, event, hash: stated, computed, fits: computed === stated };
}

// rowable refuses what has not the form of an event: only somebody who changed
// it on its way or on the disk can have made it.
function rowable(event) {
  const strings = [event.id, event.timestamp, event.agent, event.session, event.tool, event.decision.action, event.prev_hash, event.hash];
  const { matched_policies: policies, evaluation_time_us: took } = event.decision;
  const answer = event.approval ?? {};
  strings.push(event.run_id ?? '', answer.id ?? '', answer.status ?? '', answer.resolved_by ?? '', answer.reason ?? '');
  const form = Array.isArray(policies) && [...strings, ...policies].every((s) => typeof s === 'string')
    && typeof took === 'number' && typeof event.request === 'object' && event.request !== null && !isNaN(Date.parse(event.timestamp));
  if (!form) throw new TypeError('not an event');
  return event;
}

// position is what the stream resumes from, and what proves the log later.
export const position = (head) => (head.id === '' ? '0' : `${head.id}.${head.hash.slice(0, 16)}`);
