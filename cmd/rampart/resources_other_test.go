//go:build !linux

package main_test

type resources struct{}

func (d *daemon) resources() resources    { return resources{} }
func (d *daemon) wantResources(resources) {}
func (d *daemon) wantPeak(int)            {}
