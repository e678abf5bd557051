// Text that agents wrote, made safe and clear to read.

import { member } from './chain.js';
import { h } from './dom.js';

// hidden matches characters that are invisible or move others about: controls,
// format characters, ignorable marks, lone surrogates, and blanks that look like
// a space. U+FE0F is allowed only where it makes an emoji of the character before it.
const hidden = /(?! |(?<=\p{Extended_Pictographic})\ufe0f)[\p{Cc}\p{Cf}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\u{1d159}]/u;
const each = new RegExp(hidden, 'gu');
const runs = new RegExp(`(${hidden.source})\\1*`, 'gu');

const signs = { '\n': '⏎', '\t': '⇥' };

// More elements than this would bring the page to a halt.
const maxMarks = 2000;
export const manyHidden = 10_000;

// visible turns text into nodes. Hidden characters become elements that name them;
// with lines, line feeds and tabs stay as they are.
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

// plain is visible for attributes and notifications: it returns a string.
export function plain(text) {
  return text.replace(runs, (run, c) => (c in signs ? mark(run, c) : `[${mark(run, c)}]`));
}

function mark(run, c) {
  const n = run.length / c.length;
  if (c in signs) return signs[c].repeat(Math.min(n, 8));
  const name = 'U+' + c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
  return n > 1 ? `${name} ×${n}` : name;
}

// hiddenIn counts the hidden characters, without line feeds and tabs, up to manyHidden.
export function hiddenIn(text) {
  let n = 0;
  for (const [c] of text.matchAll(each)) {
    if (!(c in signs)) n++;
    if (n === manyHidden) break;
  }
  return n;
}

// cut shortens text to about n characters. It keeps the beginning and the end,
// since a long command may hide what it does at its end.
export function cut(text, n) {
  if (text.length <= n) return text;
  const end = Math.floor(n / 3);
  return `${text.slice(0, n - end)} …(${number(text.length - n)} more)… ${text.slice(-end)}`;
}

// summary is a request in one line: the command, path, URL or tool, otherwise all
// of it. raw returns the request's JSON as it was stored: a number that JavaScript
// has parsed and written again may differ.
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

// format indents JSON without parsing its values: numbers and escapes stay as they
// are in the log.
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

// took formats a policy's evaluation time.
export function took(us) {
  return us < 1000 ? `${us} µs` : us < 1e6 ? `${(us / 1000).toFixed(1)} ms` : `${(us / 1e6).toFixed(1)} s`;
}
