// The log's lines as bytes: splits answers into lines, reads lines, and checks their
// hashes. docs/format.md defines a line.

const tail = /,"hash":"([0-9a-f]{64})"\}$/;
const tailLength = ',"hash":""}'.length + 64;
export const zeros = '0'.repeat(64);

const utf8 = new TextEncoder();

// canHash is false for a page that came over http from another machine: browsers
// give such pages no cryptography.
export const canHash = globalThis.crypto?.subtle !== undefined;

// eventOf returns the stored line in a message of the stream, byte for byte.
export function eventOf(message) {
  return message.slice('{"type":"audit","event":'.length, -1);
}

// split takes apart an answer whose first list has objects, such as that of
// GET /v1/audit/events. It returns the text of each object, byte for byte, and the
// rest of the answer, parsed.
export function split(answer) {
  const begin = answer.indexOf('[') + 1;
  const lines = [];
  let depth = 0;
  let start = begin;
  let i = begin;
  for (; i < answer.length; i++) {
    switch (answer.charCodeAt(i)) {
      case 0x22: // a string: skip to its closing quote
        for (i++; answer.charCodeAt(i) !== 0x22 && i < answer.length; i++) if (answer.charCodeAt(i) === 0x5c) i++;
        break;
      case 0x7b: // {
        if (depth++ === 0) start = i;
        break;
      case 0x7d: // }
        if (--depth === 0) lines.push(answer.slice(start, i + 1));
        break;
      case 0x5d: // ] ends the list unless it is within an object
        if (depth === 0) return { lines, rest: JSON.parse(answer.slice(0, begin) + answer.slice(i)) };
    }
  }
  throw new SyntaxError('the answer is cut off');
}

// member returns the text of an object's member, byte for byte.
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

// check reads a line and recomputes its hash. fits says whether the hash is right,
// or is null if this browser can't hash. event is null if the line is not an event.
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

// rowable throws if a value does not have the form of an event: then somebody has
// changed the line on its way or on the disk.
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

// position names a head: a stream resumes from it, and verify takes it as an anchor.
export const position = (head) => (head.id === '' ? '0' : `${head.id}.${head.hash.slice(0, 16)}`);
