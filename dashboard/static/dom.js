// Elements made without markup: whatever an agent wrote becomes text.

const svg = 'http://www.w3.org/2000/svg';

// h makes an element. Properties that begin with "on" are listeners, others
// attributes; those that are null or false are left out.
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// s is h for SVG.
export function s(tag, props, ...children) {
  return fill(document.createElementNS(svg, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

// say lets screen readers hear something that happened elsewhere on the page.
export function say(text) {
  byId('live').textContent = text;
}
