package main

// Run runs the program in this process, for tests that would take too long with a
// process for each call.
var Run = run
