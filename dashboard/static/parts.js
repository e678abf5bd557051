// Long text, shown a part at a time: a megabyte at once brings a page to a halt.

import { h } from './dom.js';
import { number, visible } from './text.js';

const most = 100_000; // characters at a time

// parts puts the beginning of text into pre. It returns null if that is all of the
// text. Otherwise it returns a button that shows the next part, and calls all after
// the last one.
export function parts(pre, text, { note = '', all = () => {} } = {}) {
  let from = 0;
  const next = () => {
    const within = text.codePointAt(from + most - 1) > 0xffff; // the end would split a character
    const to = from + most + (within ? 1 : 0);
    pre.append(...visible(text.slice(from, to), { lines: true }));
    from = to;
  };
  pre.replaceChildren();
  next();
  if (from >= text.length) return null;
  const words = () => `Show more: ${number(text.length - from)} characters are left.${note}`;
  const more = h('button', { type: 'button', class: 'more', onclick: () => {
    next();
    more.textContent = words();
    if (from < text.length) return;
    more.remove();
    pre.focus();
    all();
  } }, words());
  return more;
}
