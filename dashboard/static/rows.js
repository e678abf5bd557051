// A list of any length of which the rows in sight exist: newest first, each as
// high as the other. The list itself has the focus and names its active row.

import { h } from './dom.js';
import { badge } from './decision.js';
import { took, visible } from './text.js';
import { time } from './time.js';

const beyond = 6; // rows above and below what is in sight

export class Rows extends EventTarget {
  shown = []; // oldest first
  active = ''; // an id
  #elements = new Map();
  #height = 1;
  #scheduled = false;

  constructor(grid, window) {
    super();
    this.grid = grid;
    this.window = window;
    grid.addEventListener('scroll', () => {
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
      this.render();
    }).observe(grid);
  }

  get atTop() {
    return this.grid.scrollTop < this.#height;
  }

  // nearEnd reports whether the oldest row that is here is about to be seen.
  get nearEnd() {
    return this.grid.scrollTop + 2 * this.grid.clientHeight >= this.shown.length * this.#height;
  }

  toTop() {
    this.grid.scrollTop = 0;
  }

  // movedUp keeps in place what is in sight when n rows above it go.
  movedUp(n) {
    this.grid.scrollTop -= n * this.#height;
  }

  open(id) {
    this.activate(id);
    this.dispatchEvent(new CustomEvent('open', { detail: id }));
  }

  activate(id) {
    this.active = id;
    this.render();
  }

  // render draws once for all that changes before the next frame.
  render() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
      this.dispatchEvent(new Event('drawn'));
    });
  }

  #draw() {
    const { grid, window, shown } = this;
    const n = shown.length;
    window.style.height = `${n * this.#height}px`;
    grid.setAttribute('aria-rowcount', n + 1);
    const first = Math.max(0, Math.floor(grid.scrollTop / this.#height) - beyond);
    const last = Math.min(n, Math.ceil((grid.scrollTop + grid.clientHeight) / this.#height) + beyond);
    const old = this.#elements;
    this.#elements = new Map();
    for (let i = first; i < last; i++) {
      const row = shown[n - 1 - i];
      const element = old.get(row.id) ?? elementOf(row);
      old.delete(row.id);
      this.#elements.set(row.id, element);
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
    if (this.#elements.has(this.active)) grid.setAttribute('aria-activedescendant', `row-${this.active}`);
    else grid.removeAttribute('aria-activedescendant');
  }

  #key(e) {
    const n = this.shown.length;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.#height) - 2);
    const at = this.shown.findLastIndex((r) => r.id === this.active); // newest first on the screen: down is -1
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
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + this.#height + head > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + this.#height + head - grid.clientHeight;
    this.activate(this.shown[index].id);
    this.dispatchEvent(new Event('moved'));
  }
}

function elementOf(row) {
  const cell = (name, ...content) => h('span', { role: 'gridcell', class: name }, ...content);
  return h('div', { role: 'row', id: `row-${row.id}`, class: row.broken ? 'row broken' : 'row', 'data-id': row.id },
    cell('time', time(row.timestamp)),
    cell('agent', visible(row.agent)),
    cell('session', visible(row.session)),
    cell('tool', visible(row.tool)),
    cell('request', h('bdi', { dir: 'ltr' }, visible(row.summary))),
    cell('decision', badge(row.action)),
    cell('policies', visible(row.policies.join(', '))),
    cell('took', took(row.took)));
}
