// The page's address: behind the # stand the view and what it shows. That part
// never leaves the browser.

export function read() {
  const [view, query = ''] = location.hash.slice(1).split(/\?(.*)/s);
  return { view, params: new URLSearchParams(query) };
}

export function to(view, params = {}) {
  const query = new URLSearchParams(Object.entries(params).flatMap(([k, v]) => [v].flat().map((one) => [k, one]))).toString();
  return `#${view}${query && '?' + query}`;
}

// write changes the address without a word to those who listen; with replace
// the way back does not lead to the one before.
export function write(view, params, { replace = false } = {}) {
  const query = params.toString();
  const hash = `#${view}${query && '?' + query}`;
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, '', hash);
  else history.pushState(null, '', hash);
}
