// A list of any length, newest first. Only the rows in sight have elements; all rows
// have the same height. The list itself takes the focus and names its active row.

import { byId, h } from './dom.js';
import { badge } from './decision.js';
import { took, visible } from './text.js';
import { time } from './time.js';

const beyond = 6; // rows to draw above and below those in sight
const pace = 80; // ms between two drawings of new rows; scrolling draws at once

export class Rows extends EventTarget {
  shown = []; // oldest first
  active = ''; // id of the active row
  #elements = new Map(); // by row, not by id: in a replaced log an id may be another event's
  // Layout in pixels, kept here because asking the browser for it is costly.
  #height = 1; // height of a row
  #top = 0; // scroll position
  #inSight = 0; // height of the list
  #scheduled = false;
  #urgent = false;
  #drawn = 0;

  constructor(grid, window) {
    super();
    this.grid = grid;
    this.window = window;
    grid.addEventListener('scroll', () => {
      this.#top = grid.scrollTop;
      this.dispatchEvent(new Event('scroll'));
      this.render();
    });
    grid.addEventListener('keydown', (e) => this.#key(e));
    window.addEventListener('click', (e) => {
      const row = e.target.closest('.row');
      if (row && getSelection().isCollapsed) this.open(row.dataset.id);
    });
    new ResizeObserver(() => {
      this.#height = parseFloat(getComputedStyle(grid).getPropertyValue('--row')) || 1;
      this.#inSight = grid.clientHeight;
      this.#top = grid.scrollTop;
      this.render();
    }).observe(grid);
  }

  get atTop() {
    return this.#top < this.#height;
  }

  // nearEnd reports whether the oldest row is in sight or nearly so.
  get nearEnd() {
    return this.#top + 2 * this.#inSight >= this.shown.length * this.#height;
  }

  toTop() {
    this.#scrollTo(0);
  }

  // movedUp keeps the rows in sight in place after n rows above them were dropped.
  movedUp(n) {
    this.#scrollTo(this.#top - n * this.#height);
  }

  #scrollTo(top) {
    this.grid.scrollTop = top;
    this.#top = this.grid.scrollTop;
  }

  open(id) {
    this.activate(id);
    this.dispatchEvent(new CustomEvent('open', { detail: id }));
  }

  activate(id) {
    this.active = id;
    this.render();
  }

  // render draws at the next frame, once for all changes before it.
  render() {
    this.#urgent = true;
    this.renderSoon();
  }

  // renderSoon draws new rows, at most once in pace ms.
  renderSoon() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame((now) => {
      this.#scheduled = false;
      if (!this.#urgent && now - this.#drawn < pace) {
        this.renderSoon();
        return;
      }
      this.#urgent = false;
      this.#drawn = now;
      this.#draw();
      this.dispatchEvent(new Event('drawn'));
    });
  }

  #draw() {
    const { grid, window, shown } = this;
    const n = shown.length;
    window.style.height = `${n * this.#height}px`;
    grid.setAttribute('aria-rowcount', n + 1);
    const first = Math.max(0, Math.floor(this.#top / this.#height) - beyond);
    const last = Math.min(n, Math.ceil((this.#top + this.#inSight) / this.#height) + beyond);
    const old = this.#elements;
    this.#elements = new Map();
    for (let i = first; i < last; i++) {
      const row = shown[n - 1 - i];
      const element = old.get(row) ?? elementOf(row);
      old.delete(row);
      this.#elements.set(row, element);
      element.classList.toggle('broken', row.broken); // its link may have been checked since
      element.style.top = `${i * this.#height}px`;
      element.setAttribute('aria-rowindex', i + 2);
      element.setAttribute('aria-selected', row.id === this.active);
    }
    for (const gone of old.values()) gone.remove();
    let next = window.firstChild;
    for (const element of this.#elements.values()) {
      if (element === next) next = next.nextSibling;
      else window.insertBefore(element, next);
    }
    if (this.active !== '' && byId(`row-${this.active}`)) grid.setAttribute('aria-activedescendant', `row-${this.active}`);
    else grid.removeAttribute('aria-activedescendant');
  }

  #key(e) {
    const n = this.shown.length;
    const page = Math.max(1, Math.floor(this.#inSight / this.#height) - 2);
    const at = this.shown.findLastIndex((r) => r.id === this.active); // the screen shows the newest first: down is -1
    const from = at < 0 ? n : at;
    const to = { ArrowDown: from - 1, ArrowUp: from + 1, PageDown: from - page, PageUp: from + page, Home: n - 1, End: 0 }[e.key];
    if (e.key === 'Enter' && at >= 0) this.open(this.active);
    else if (to === undefined || e.altKey || e.ctrlKey || e.metaKey) return;
    else if (n > 0) this.#moveTo(Math.max(0, Math.min(n - 1, to)));
    e.preventDefault();
  }

  #moveTo(index) {
    const { grid } = this;
    const top = (this.shown.length - 1 - index) * this.#height;
    const head = grid.firstElementChild.offsetHeight;
    if (top < this.#top) this.#scrollTo(top);
    else if (top + this.#height + head > this.#top + this.#inSight) this.#scrollTo(top + this.#height + head - this.#inSight);
    this.activate(this.shown[index].id);
    this.dispatchEvent(new Event('moved'));
  }
}

function elementOf(row) {
  const cell = (name, ...content) => h('span', { role: 'gridcell', class: name }, ...content);
  return h('div', { role: 'row', id: `row-${row.id}`, class: 'row', 'data-id': row.id },
    cell('time', time(row.timestamp)),
    cell('agent', visible(row.agent)),
    cell('session', visible(row.session)),
    cell('tool', visible(row.tool)),
    cell('request', h('bdi', { dir: 'ltr' }, visible(row.summary))),
    cell('decision', badge(row.action)),
    cell('policies', visible(row.policies.join(', '))),
    cell('took', took(row.took)));
}
