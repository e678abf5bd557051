package main

var NewServer = newServer
