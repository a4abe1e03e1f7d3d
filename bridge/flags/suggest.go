package flags

// suggest offers the name that is closest to a misspelt one, if any is close.
func suggest(word string, names []string, prefix string) string {
	best := Closest(word, names)
	if best == "" {
		return ""
	}
	return ", did you mean " + prefix + best + "?"
}

// Closest is the first of the names that are closest to a misspelt one; empty:
// none is close.
func Closest(word string, names []string) string {
	best, bestDistance := "", 1+len(word)/3
	for _, name := range names {
		if d := distance(word, name); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, exchange or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	before, last, row := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, make([]int, len(b)+1)
	}
	return last[len(b)]
}
