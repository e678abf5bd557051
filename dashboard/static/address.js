// The part of the page's address behind #: the view and its parameters. Browsers
// never send that part to a server.

export function read() {
  const [view, query = ''] = location.hash.slice(1).split(/\?(.*)/s);
  return { view, params: new URLSearchParams(query) };
}

export function to(view, params = {}) {
  const query = new URLSearchParams(Object.entries(params).flatMap(([k, v]) => [v].flat().map((one) => [k, one]))).toString();
  return `#${view}${query && '?' + query}`;
}

// write changes the address and fires no event. With replace the old address is
// not kept in the browser's history.
export function write(view, params, { replace = false } = {}) {
  const query = params.toString();
  const hash = `#${view}${query && '?' + query}`;
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, '', hash);
  else history.pushState(null, '', hash);
}
