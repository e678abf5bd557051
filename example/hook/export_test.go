package main

// Run is the program in this process, for what would take too long with a
// process for each call.
var Run = run
