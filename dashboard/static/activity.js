// The activity view: the live list of events, its filters and its pause.

import * as address from './address.js';
import { byId, h } from './dom.js';
import { Bounded } from './bounded.js';
import { Detail } from './detail.js';
import { Filter, unwords, words } from './filter.js';
import { rowOf } from './log.js';
import { Rows } from './rows.js';
import { plain, plural } from './text.js';
import { localFull } from './time.js';

const fields = ['agent', 'session', 'tool', 'action', 'run_id'];
const typing = 250; // ms without a keystroke until a filter applies
const mostPages = 20; // pages without a match until a person must ask to search further
const enough = 50; // matching events to fetch at a time

export class Activity {
  #filter = new Filter();
  #list = new Bounded(); // the rows that are shown
  #newest = ''; // id of the newest row that the filter has seen
  #searched = ''; // id of the oldest event that the filter has seen
  #end = false; // whether nothing older exists
  #loading = null; // an AbortController while older events are fetched
  #fault = '';
  #detached = false; // whether newer rows were dropped to make room for older ones
  #pressed = false; // whether Pause is pressed
  #meanwhile = 0; // matching events that came during the pause
  #pages = 0; // pages in a row without a match
  #pushes = true; // whether the next change of a filter makes an entry in the browser's history

  constructor(log) {
    this.log = log;
    this.rows = new Rows(byId('rows'), byId('window'));
    this.detail = new Detail(log, this.rows);
    log.addEventListener('row', ({ detail }) => this.#take(detail));
    log.addEventListener('reset', () => this.#rebuild());
    log.addEventListener('change', () => this.#state());
    this.rows.addEventListener('scroll', () => this.rows.atTop && this.#goOn());
    this.rows.addEventListener('drawn', () => this.#fill());
    this.rows.addEventListener('open', ({ detail: id }) => this.#open(id));
    this.detail.addEventListener('moved', ({ detail: id }) => this.#open(id));
    this.detail.addEventListener('closed', () => this.#open(''));
    this.rows.addEventListener('moved', () => this.detail.id !== '' && this.#open(this.rows.active));
    byId('pause').addEventListener('click', () => {
      if (this.#paused) this.#live();
      else this.#pressed = true;
      this.#state();
    });
    byId('meanwhile').addEventListener('click', () => this.#live());
    byId('more').addEventListener('click', () => {
      this.#fault = '';
      this.#pages = 0;
      this.#fill();
    });
    this.#listenToForm();
  }

  // show shows the filter and the event that an address names.
  show(params) {
    this.#setFilter(new Filter(params));
    this.detail.show(params.get('event') ?? '');
    this.#goOn();
    this.rows.render();
  }

  #listenToForm() {
    const form = byId('filters');
    let timer = 0;
    const apply = () => {
      clearTimeout(timer);
      if (byId('activity').hidden) return; // another view was chosen since the last keystroke
      const params = this.#read(form);
      address.write('activity', params, { replace: !this.#pushes });
      this.#pushes = false;
      this.#setFilter(new Filter(params), { typed: true });
    };
    form.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(apply, typing);
    });
    form.addEventListener('submit', (e) => {
      e.preventDefault();
      apply();
    });
    form.addEventListener('focusin', (e) => {
      this.#pushes = true;
      this.#suggest(e.target);
    });
    byId('clear-filters').addEventListener('click', () => {
      address.write('activity', new URLSearchParams());
      this.show(new URLSearchParams());
    });
  }

  // read turns the form into the parameters of an address. A field that nobody
  // changed keeps its values: splitting its text again could give others.
  #read(form) {
    const filter = new Filter();
    for (const name of fields) {
      const was = this.#filter.lists[name];
      filter.lists[name] = form.elements[name].value === unwords(was) ? was : words(form.elements[name].value);
    }
    filter.text = form.elements.text.value;
    filter.since = this.#filter.since;
    filter.until = this.#filter.until;
    const params = new URLSearchParams();
    filter.write(params);
    if (this.detail.id !== '') params.set('event', this.detail.id);
    return params;
  }

  #suggest(input) {
    const list = input.list;
    if (!list) return;
    const values = new Set();
    for (let i = this.log.rows.length - 1; i >= 0 && values.size < 50; i--) values.add(this.log.rows[i][input.name]);
    list.replaceChildren(...[...values].sort().map((v) => h('option', { value: unwords([v]) }, plain(v))));
  }

  #setFilter(filter, { typed = false } = {}) {
    const before = new URLSearchParams();
    const after = new URLSearchParams();
    this.#filter.write(before);
    filter.write(after);
    const changed = before.toString() !== after.toString() || this.rows.shown.length === 0;
    this.#filter = filter;
    if (!typed) {
      const form = byId('filters');
      for (const name of fields) form.elements[name].value = unwords(filter.lists[name]);
      form.elements.text.value = filter.text;
    }
    const { since, until } = filter;
    byId('period').textContent = `${since && ` from ${localFull(since)}`}${until && ` until ${localFull(until)}`}`;
    if (changed) this.#rebuild();
  }

  get #paused() {
    return this.#pressed || this.detail.id !== '' || !this.rows.atTop;
  }

  #take(row) {
    if (this.#paused || this.#meanwhile > 0 || this.#detached) {
      if (this.#filter.matches(row)) this.#meanwhile++;
    } else {
      this.#add(row);
    }
    this.rows.renderSoon();
  }

  #add(row) {
    this.#newest = row.id;
    this.#searched ||= row.id;
    if (!this.#filter.matches(row)) return;
    if (this.#list.addNewest(row) === 0) return;
    this.#searched = this.#list.rows[0].id;
    this.#end = false;
  }

  #rebuild() {
    this.#loading?.abort();
    this.#loading = null;
    this.#fault = '';
    this.#meanwhile = 0;
    this.#detached = false;
    this.#pages = 0;
    const { rows } = this.log;
    this.#list = new Bounded(rows.filter((row) => this.#filter.matches(row)));
    this.rows.shown = this.#list.rows;
    this.#newest = rows.at(-1)?.id ?? '';
    this.#searched = rows[0]?.id ?? '';
    this.#end = false;
    this.rows.toTop();
    this.rows.render();
  }

  // live ends every reason to pause.
  #live() {
    this.#pressed = false;
    if (this.detail.id !== '') this.#open('');
    this.rows.toTop();
    this.#resume();
  }

  #goOn() {
    if (!this.#paused) this.#resume();
  }

  // resume shows the events that came during the pause.
  #resume() {
    const { rows } = this.log;
    if (this.#detached || (rows.length > 0 && rows[0].id > this.#newest)) {
      this.#rebuild();
      return;
    }
    this.#meanwhile = 0;
    const newest = this.#newest;
    const i = rows.findLastIndex((row) => row.id <= newest);
    for (const row of rows.slice(i + 1)) this.#add(row);
    this.rows.render();
  }

  // fill fetches older events while the end of the list is near, and updates the
  // state line.
  async #fill() {
    this.#state();
    const wanted = !byId('activity').hidden && this.log.head !== null && this.log.head.id !== '' && this.rows.nearEnd;
    if (!wanted || this.#loading || this.#end || this.#fault || this.#pages >= mostPages) return;
    const loading = this.#loading = new AbortController();
    this.#state();
    try {
      await this.#older(loading.signal);
    } catch (error) {
      if (!loading.signal.aborted) this.#fault = error.message;
    }
    if (this.#loading !== loading) return;
    this.#loading = null;
    this.rows.render();
  }

  async #older(signal) {
    for (let found = 0; found < enough && !this.#end && this.#pages < mostPages;) {
      const { lines, cursor } = await this.log.page({ ...this.#filter.query, before: this.#searched }, signal);
      signal.throwIfAborted();
      const rows = lines.filter((c) => c.event !== null).map(rowOf).reverse();
      if (this.#filter.empty && rows.length === lines.length) this.log.wantLinks([...rows, ...this.#list.rows.slice(0, 1)]);
      const matching = rows.filter((row) => this.#filter.matches(row));
      const gone = this.#list.addOldest(matching);
      if (gone > 0) {
        this.#detached = true;
        this.rows.movedUp(gone);
      }
      found += matching.length;
      this.#pages = matching.length > 0 ? 0 : this.#pages + 1;
      this.#searched = cursor || this.#searched;
      this.#end = cursor === '';
      this.rows.render();
    }
  }

  #open(id) {
    this.detail.show(id);
    const params = new URLSearchParams();
    this.#filter.write(params);
    if (id !== '') params.set('event', id);
    address.write('activity', params, { replace: true });
    this.#goOn();
    this.#state();
  }

  #state() {
    const meanwhile = byId('meanwhile');
    const text = `${plural(this.#meanwhile, 'new event')}: show`;
    meanwhile.hidden = this.#meanwhile === 0 && !this.#detached;
    if (meanwhile.textContent !== text) meanwhile.textContent = text;
    byId('pause').setAttribute('aria-pressed', this.#paused);

    const [n, more] = [this.rows.shown.length, byId('more')];
    let [words, action] = ['', ''];
    if (this.#fault) [words, action] = [`Older events could not be loaded: ${this.#fault}.`, 'Try again'];
    else if (this.log.head === null || this.#loading) words = 'Loading…';
    else if (this.#pages >= mostPages) [words, action] = [`Searched ${this.#back()} without finding more.`, 'Search further'];
    else if (n > 0) words = `${plural(n, 'event')} here, ${this.#end ? 'back to the beginning' : 'older ones when you scroll'}.`;
    else if (this.log.head.id === '') words = 'No events yet. They appear here the moment an agent’s first call is on the log.';
    else words = 'No event matches. Clear a filter to see more.';
    const state = byId('rows-state').firstElementChild;
    if (state.textContent !== words) state.textContent = words;
    more.hidden = action === '';
    byId('activity').toggleAttribute('data-empty', n === 0);
    if (action !== '') more.textContent = action;
  }

  #back() {
    const ms = decodeTime(this.#searched);
    return `back to ${localFull(ms)}`;
  }
}

// decodeTime returns the time of a ULID, in ms.
function decodeTime(id) {
  let ms = 0;
  for (const c of id.slice(0, 10)) ms = ms * 32 + '0123456789ABCDEFGHJKMNPQRSTVWXYZ'.indexOf(c);
  return ms;
}
