// Decisions over time, as stacked bars.

import { h, s } from './dom.js';
import { known } from './decision.js';
import { number, plain } from './text.js';
import { localFull } from './time.js';

const height = 200;
const left = 52; // pixels for the numbers
const bottom = 22; // pixels for the times

// chart draws intervals, each with its time, total and counts by kind, width pixels
// wide. It calls choose with an interval that a person clicks.
export function chart(intervals, width, choose) {
  const kinds = [...known, 'other'].filter((k) => intervals.some((i) => i.kinds[k] > 0));
  const most = Math.max(1, ...intervals.map((i) => i.total));
  const top = nice(most);
  const y = (n) => (height * (1 - n / top));
  const step = (width - left) / intervals.length;
  const picture = s('svg', { width, height: height + bottom + 8, role: 'img', 'aria-label': describe(intervals, kinds) });
  const plot = s('g', { transform: 'translate(0 8)' });
  picture.append(plot);
  for (const n of [0, top / 2, top]) {
    plot.append(s('line', { class: 'grid', x1: left, x2: width, y1: y(n), y2: y(n) }),
      s('text', { x: left - 6, y: y(n) + 4, 'text-anchor': 'end' }, number(n)));
  }
  intervals.forEach((interval, i) => {
    const x = left + i * step;
    const bar = s('g', { class: 'bar', onclick: () => choose(interval) }, s('title', {}, words(interval, kinds)),
      s('rect', { class: 'ground', x, y: 0, width: step, height }));
    let below = 0;
    for (const k of kinds) {
      const n = interval.kinds[k] ?? 0;
      if (n > 0) bar.append(s('rect', { class: k, x: x + step * 0.08, width: step * 0.84, y: y(below + n), height: y(below) - y(below + n) }));
      below += n;
    }
    plot.append(bar);
  });
  const labels = Math.max(1, Math.floor((width - left) / 90));
  for (let l = 0, last = ''; l < labels; l++) {
    const i = Math.floor((l * intervals.length) / labels);
    const text = label(intervals, i);
    if (text !== last) plot.append(s('text', { x: left + i * step, y: height + 16 }, text));
    last = text;
  }
  return [h('ul', { class: 'legend' }, kinds.map((k) => h('li', {}, h('span', { class: `action ${k}` }, k)))), picture, table(intervals, kinds)];
}

// nice rounds n up to the top of the scale: 1, 2 or 5 times a power of ten, at least 2.
function nice(n) {
  const power = 10 ** Math.floor(Math.log10(n));
  return Math.max(2, [1, 2, 5, 10].find((f) => f * power >= n) * power);
}

function label(intervals, i) {
  const date = new Date(intervals[i].from);
  const span = Date.parse(intervals.at(-1).from) - Date.parse(intervals[0].from);
  if (span < 36 * 3600e3) return date.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  return date.toLocaleDateString(undefined, { month: 'short', day: 'numeric' });
}

function words(interval, kinds) {
  const parts = kinds.filter((k) => interval.kinds[k] > 0).map((k) => `${number(interval.kinds[k])} ${k}`);
  return `from ${localFull(interval.from)}: ${parts.join(', ') || 'nothing'}`;
}

function describe(intervals, kinds) {
  const total = (k) => intervals.reduce((sum, i) => sum + (i.kinds[k] ?? 0), 0);
  return `Decisions over time: ${kinds.map((k) => `${number(total(k))} ${k}`).join(', ') || 'none'}. The table below has the same figures.`;
}

function table(intervals, kinds) {
  const some = intervals.filter((i) => i.total > 0);
  return h('details', {}, h('summary', {}, 'As a table'),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Decisions over time' }, h('table', {},
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'From'), kinds.map((k) => h('th', { scope: 'col' }, plain(k))))),
      h('tbody', {}, some.map((i) => h('tr', {}, h('th', { scope: 'row' }, h('a', { href: i.href }, localFull(i.from))),
        kinds.map((k) => h('td', {}, number(i.kinds[k] ?? 0)))))))));
}
