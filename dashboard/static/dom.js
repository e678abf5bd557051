// Elements are made without markup, so that whatever an agent wrote becomes text.

const svg = 'http://www.w3.org/2000/svg';

// h makes an element. Properties whose names begin with "on" are listeners, the
// others attributes; null and false ones are left out.
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

// say makes screen readers announce text.
export function say(text) {
  byId('live').textContent = text;
}
