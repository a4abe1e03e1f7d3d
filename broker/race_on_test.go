//go:build race

package broker

// underRace: the race detector's own memory and time are in every measure.
const underRace = true
