// The history view: decisions over time, the most frequent tools, agents and denied
// commands, and the export of lines.

import * as address from './address.js';
import { member } from './chain.js';
import { chart } from './chart.js';
import { kind } from './decision.js';
import { byId, h } from './dom.js';
import { cut, number, plural, summary, visible } from './text.js';

const hour = 3600;
const spans = new Map([['1h', hour], ['1d', 24 * hour], ['7d', 7 * 24 * hour], ['30d', 30 * 24 * hour], ['365d', 365 * 24 * hour]]);
const steps = [60, 300, 900, 1800, hour, 2 * hour, 6 * hour, 12 * hour, 24 * hour, 7 * 24 * hour, 30 * 24 * hour]; // seconds
const mostBars = 60;
const mostDenials = 2500; // denied events whose commands are counted
const mostTop = 10;

// stepOf returns the length of the intervals for a range, in seconds.
function stepOf(seconds) {
  return steps.find((s) => seconds / s <= mostBars) ?? Math.ceil(seconds / mostBars);
}

// floor rounds a time down to a whole step of local time.
function floor(ms, step) {
  const zone = new Date(ms).getTimezoneOffset() * 60_000;
  const day = 24 * hour * 1000;
  const unit = Math.min(step * 1000, day);
  return new Date(Math.floor((ms - zone) / unit) * unit + zone);
}

export class History {
  #range = null; // {since, until} as Dates
  #loading = null;
  #intervals = [];
  #exporting = null;

  constructor(log) {
    this.log = log;
    this.api = log.api;
    const form = byId('range');
    form.onsubmit = (e) => {
      e.preventDefault();
      this.#go({ from: form.elements.from.value, to: form.elements.to.value });
    };
    for (const button of form.querySelectorAll('[data-range]')) button.onclick = () => this.#go({ range: button.dataset.range });
    byId('export').onclick = () => this.#export();
    new ResizeObserver(() => this.#draw()).observe(byId('chart'));
  }

  #go(params) {
    address.write('history', new URLSearchParams(Object.entries(params).filter(([, v]) => v !== '')));
    this.show(new URLSearchParams(params));
  }

  // show shows the range that an address names: a span up to now, or whole days.
  show(params) {
    const form = byId('range');
    const chosen = params.get('range') ?? '1d';
    let [from, to] = [params.get('from') ?? '', params.get('to') ?? ''];
    [from, to] = [from || to, to || from];
    let [since, until] = [new Date(`${from}T00:00`), new Date(`${to}T00:00`)];
    until.setDate(until.getDate() + 1);
    const byDay = since < until;
    if (!byDay) {
      const span = spans.get(chosen) ?? spans.get('1d');
      const now = Math.ceil(this.api.now() / 1000) * 1000;
      until = new Date(now);
      since = floor(now - span * 1000, stepOf(span));
    }
    form.elements.from.value = byDay ? from : '';
    form.elements.to.value = byDay ? to : '';
    for (const button of form.querySelectorAll('[data-range]')) button.setAttribute('aria-pressed', !byDay && button.dataset.range === chosen);
    const none = from !== '' && !byDay;
    byId('export').disabled = none;
    if (none) {
      this.#loading?.abort();
      this.#say('The range is empty: its first day is after its last. The previous range is still shown.');
      return;
    }
    this.#range = { since, until };
    this.#load();
  }

  async #load() {
    this.#loading?.abort();
    const { signal } = this.#loading = new AbortController();
    const { since, until } = this.#range;
    this.#say('Loading…');
    const step = stepOf((until - since) / 1000);
    try {
      const range = { from: since.toISOString(), to: until.toISOString() };
      const response = await this.api.fetch('audit/stats', { params: { ...range, interval: `${step}s` }, signal, patient: true });
      const stats = await response.json();
      this.#show(stats, step);
      this.#say('');
      await this.#denied(signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#intervals = []; // they belong to the previous range
      for (const id of ['chart', 'total', 'top-tools', 'top-agents', 'top-denied', 'denied-state']) byId(id).replaceChildren();
      this.#say(`The range could not be loaded: ${error.message}. Choose it again to try again.`);
    }
  }

  #show(stats, step) {
    const { until } = this.#range;
    this.#intervals = stats.intervals.map(({ from, total_events: total, by_action: actions }) => {
      const kinds = {};
      for (const [action, n] of Object.entries(actions)) kinds[kind(action)] = (kinds[kind(action)] ?? 0) + n;
      const end = new Date(Math.min(until, Date.parse(from) + step * 1000));
      return { from, total, kinds, href: address.to('activity', { since: new Date(from).toISOString(), until: end.toISOString() }) };
    });
    const n = stats.total_events;
    byId('total').textContent = n === 0 ? 'No event in this range. Choose another one.' : `${plural(n, 'event')}: ${Object.entries(stats.by_action).sort(([, a], [, b]) => b - a).slice(0, 12).map(([a, n]) => `${number(n)} ${cut(a, 40)}`).join(', ')}.`;
    byId('total').dataset.total = n;
    byId('export').disabled = n === 0;
    this.#top('top-tools', Object.entries(stats.by_tool), (tool) => ({ tool }));
    this.#top('top-agents', Object.entries(stats.by_agent), (agent) => ({ agent }));
    this.#draw();
  }

  #draw() {
    const figure = byId('chart');
    const width = figure.clientWidth;
    const open = figure.querySelector('details')?.open;
    if (width === 0 || this.#intervals.length === 0) return;
    figure.replaceChildren(...chart(this.#intervals, width, (interval) => { location.hash = interval.href; }));
    figure.querySelector('details').open = open;
  }

  #top(id, counts, filter) {
    const { since, until } = this.#range;
    const top = counts.sort(([, a], [, b]) => b - a).slice(0, mostTop);
    const most = top[0]?.[1];
    byId(id).replaceChildren(...top.map(([name, n]) => h('li', {},
      h('a', { class: 'name', href: address.to('activity', { ...filter(name), since: since.toISOString(), until: until.toISOString() }) }, h('bdi', { dir: 'ltr' }, visible(cut(name, 200)))),
      h('progress', { max: most, value: n, 'aria-hidden': true }), ' ',
      h('span', { class: 'count' }, number(n)))));
  }

  // denied counts the commands of the newest denied events in the range.
  async #denied(signal) {
    const { since, until } = this.#range;
    const [counts, commands] = [new Map(), new Map()];
    let [n, cursor] = [0, ''];
    do {
      const page = await this.log.page({ action: 'deny', since: since.toISOString(), until: until.toISOString(), cursor }, signal);
      for (const { event, line } of page.lines) {
        if (event === null) continue;
        const command = summary(event.request, () => member(line, 'request'));
        const what = `${event.tool}: ${command}`;
        commands.set(what, command.slice(0, 100));
        counts.set(what, (counts.get(what) ?? 0) + 1);
      }
      n += page.lines.length;
      cursor = page.cursor;
    } while (cursor !== '' && n < mostDenials);
    if (signal.aborted) return;
    byId('denied-state').textContent = n === 0 ? 'Nothing was denied.' : cursor === '' ? '' : `Counted in the newest ${number(n)} denials.`;
    this.#top('top-denied', [...counts], (what) => ({ action: 'deny', text: commands.get(what) }));
  }

  async #export() {
    if (this.#exporting) {
      this.#exporting.abort();
      return;
    }
    const { since, until } = this.#range;
    const { signal } = this.#exporting = new AbortController();
    byId('export').textContent = 'Cancel the export';
    this.#say('Fetching the lines…');
    try {
      const response = await this.api.fetch('audit/export', { params: { from: since.toISOString(), to: until.toISOString() }, signal, patient: true });
      const name = /filename="([^"]+)"/.exec(response.headers.get('Content-Disposition'))?.[1] ?? 'rampart-audit.jsonl';
      const url = URL.createObjectURL(await response.blob());
      h('a', { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      this.#say(`Saved as ${name}.`);
    } catch (error) {
      this.#say(signal.aborted ? 'The export was cancelled.' : `Nothing was saved: the export failed (${error.message}). Try again, or choose a shorter range.`);
    }
    this.#exporting = null;
    byId('export').textContent = 'Export as JSONL';
  }

  #say(words) {
    byId('history-state').textContent = words;
  }
}
