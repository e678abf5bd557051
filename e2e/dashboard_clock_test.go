package e2e_test

import "fmt"

// clock lets the page's time run ahead of the world's, as it does for a machine
// that slept: e2eSkip(ms) makes it later at once, and timers that are due by
// then fire.
const clock = `{
	const real = {Date, now: performance.now.bind(performance), setTimeout: setTimeout.bind(window), clearTimeout: clearTimeout.bind(window)}
	const timers = new Map()
	let ahead = 0, ids = 1e9
	globalThis.Date = class extends real.Date {
		constructor(...args) { args.length === 0 ? super(real.Date.now() + ahead) : super(...args) }
		static now() { return real.Date.now() + ahead }
	}
	performance.now = () => real.now() + ahead
	const start = (id, f, ms, args, again) => {
		const timer = {due: performance.now() + ms}
		timer.fire = () => {
			real.clearTimeout(timer.real)
			if (again) start(id, f, ms, args, again)
			else timers.delete(id)
			f(...args)
		}
		timer.real = real.setTimeout(timer.fire, ms)
		timers.set(id, timer)
		return id
	}
	globalThis.setTimeout = (f, ms = 0, ...args) => start(++ids, f, ms, args, false)
	globalThis.setInterval = (f, ms = 0, ...args) => start(++ids, f, ms, args, true)
	globalThis.clearTimeout = globalThis.clearInterval = id => {
		real.clearTimeout(timers.get(id)?.real)
		timers.delete(id)
	}
	globalThis.e2eSkip = ms => {
		ahead += ms
		for (const timer of [...timers.values()]) if (timer.due <= performance.now()) timer.fire()
		return true
	}
}`

// skip makes the page's clock run ahead by so many seconds.
func (b *board) skip(seconds int) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf(`e2eSkip(%d)`, 1000*seconds))
}
