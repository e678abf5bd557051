// Decisions in words and colours; style.css has the colours by these names.

import { h } from './dom.js';
import { visible } from './text.js';

// In the order of a stacked chart: from what went through to what did not.
export const known = ['allow', 'watch', 'approved', 'ask', 'expired', 'denied', 'deny'];

export const kind = (action) => (known.includes(action) ? action : 'other');

export function badge(action) {
  return h('span', { class: `action ${kind(action)}`, 'data-action': action }, visible(action));
}
