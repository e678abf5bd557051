// Decisions as badges. style.css has a colour for each of these names.

import { h } from './dom.js';
import { visible } from './text.js';

// In the order of a stacked chart: from allowed calls to denied ones.
export const known = ['allow', 'watch', 'approved', 'ask', 'expired', 'denied', 'deny'];

export const kind = (action) => (known.includes(action) ? action : 'other');

export function badge(action) {
  return h('span', { class: `action ${kind(action)}`, 'data-action': action }, visible(action));
}
