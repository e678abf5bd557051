// What agents wrote, made fit to be looked at.

import { member } from './chain.js';
import { h } from './dom.js';

// What is not seen, or moves others about: controls, format characters, marks
// that are ignored, lone surrogates, and blanks that look like the usual one.
// U+FE0F may make an emoji of the character before it, and is nothing elsewhere.
const hidden = /(?! |(?<=\p{Extended_Pictographic})\ufe0f)[\p{Cc}\p{Cf}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\u{1d159}]/u;
const each = new RegExp(hidden, 'gu');
const runs = new RegExp(`(${hidden.source})\\1*`, 'gu');

const signs = { '\n': '⏎', '\t': '⇥' };

// More elements than that would bring the page to a halt.
const maxMarks = 2000;
export const manyHidden = 10_000;

// visible is text as nodes in which hidden characters are elements that name
// them. With lines, line feeds and tabs stay what they are.
export function visible(text, { lines = false } = {}) {
  const nodes = [];
  let from = 0;
  for (const { 0: run, 1: c, index } of text.matchAll(runs)) {
    if (lines && c in signs) continue;
    nodes.push(text.slice(from, index), h('span', { class: 'hidden-char' }, mark(run, c)));
    from = index + run.length;
    if (nodes.length > 2 * maxMarks) break;
  }
  const rest = text.slice(from);
  nodes.push(nodes.length > 2 * maxMarks ? plain(rest) : rest);
  return nodes.filter((n) => n !== '');
}

// plain is visible as a string, for attributes and notifications.
export function plain(text) {
  return text.replace(runs, (run, c) => (c in signs ? mark(run, c) : `[${mark(run, c)}]`));
}

function mark(run, c) {
  const n = run.length / c.length;
  if (c in signs) return signs[c].repeat(Math.min(n, 8));
  const name = 'U+' + c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
  return n > 1 ? `${name} ×${n}` : name;
}

// hiddenIn is the number of characters that a person would not see, line feeds
// and tabs aside, as far as it is worth counting.
export function hiddenIn(text) {
  let n = 0;
  for (const [c] of text.matchAll(each)) {
    if (!(c in signs)) n++;
    if (n === manyHidden) break;
  }
  return n;
}

// cut is text if it has no more than n characters, and otherwise its beginning
// and its end, since that is where a long command hides what it does.
export function cut(text, n) {
  if (text.length <= n) return text;
  const end = Math.floor(n / 3);
  return `${text.slice(0, n - end)} …(${number(text.length - n)} more)… ${text.slice(-end)}`;
}

// summary is a request in a line: what would run, be opened or fetched, or
// otherwise all of it. raw is its text: numbers written anew would be others.
export function summary(request, raw) {
  const { command, path, url, server, name } = request;
  const main = Array.isArray(command) ? command.join(' ') : command;
  if (typeof main === 'string') return typeof path === 'string' ? `${main} (${path})` : main;
  if (typeof path === 'string') return path;
  if (typeof url === 'string') return url;
  if (typeof name === 'string') {
    const args = request.arguments === undefined ? '' : ' ' + member(raw(), 'arguments');
    return (typeof server === 'string' ? `${server}: ` : '') + name + args;
  }
  return raw();
}

// format lays JSON out without reading its values: numbers and escapes stay as
// they are on the log.
export function format(json) {
  const out = [];
  let depth = 0;
  const line = () => out.push('\n', '  '.repeat(depth));
  let last = '';
  for (const [token] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s"{}[\],:]+/gs)) {
    const opened = last === '{' || last === '[';
    if (token === '}' || token === ']') {
      depth--;
      if (!opened) line();
    } else if (opened || last === ',') {
      line();
    }
    out.push(token === ':' ? ': ' : token);
    if (token === '{' || token === '[') depth++;
    last = token;
  }
  return out.join('');
}

const numbers = new Intl.NumberFormat('en');

export const number = (n) => numbers.format(n);

export function plural(n, one) {
  return `${number(n)} ${one}${n === 1 ? '' : 's'}`;
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n.toFixed(i === 0 ? 0 : 1)} ${units[i]}`;
}

// took is a policy's evaluation time.
export function took(us) {
  return us < 1000 ? `${us} µs` : us < 1e6 ? `${(us / 1000).toFixed(1)} ms` : `${(us / 1e6).toFixed(1)} s`;
}
