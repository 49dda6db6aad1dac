package faults

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// goodHistory is of two processes and two senders: a channel, and a group of
// it and of two channels of the other process, and a normal channel with a
// reader in each.
func goodHistory() *History {
	sends := func(destinations ...int) (all []Send) {
		for i, d := range destinations {
			at := int64(10 * (i + 1))
			all = append(all, Send{d, Accepted, at, at + 5})
		}
		return all
	}
	return &History{
		Destinations: []Destination{
			{"channel", Direct, []int{0}},
			{"group", Group, []int{0, 1, 2}},
			{"normal", Normal, []int{3, 4}},
		},
		Channels: []Channel{{"channel", 0}, {"member-1", 1}, {"member-2", 1}, {"normal", 0}, {"normal", 1}},
		Homes:    []int{0, 1},
		Sends:    [][]Send{sends(0, 1, 2, 0), sends(2, 0, 1)},
		Receipts: [][]Receipt{
			{{0, 0, 0}, {1, 1, 0}, {0, 1, 1}, {1, 2, 1}, {0, 3, 0}},
			{{0, 1, 1}, {1, 2, 1}},
			{{1, 2, 1}, {0, 1, 1}},
			{{0, 2, 2}},
			{{1, 0, 2}},
		},
	}
}

// TestAccountant shows that the accountant finds what it is there to find:
// every case spoils the good history in one way.
func TestAccountant(t *testing.T) {
	gap := Gap{Process: 1, From: 18, To: 40}
	for name, test := range map[string]struct {
		spoil func(h *History)
		want  Account
	}{
		"good":              {func(*History) {}, Account{}},
		"duplicate":         {func(h *History) { h.receive(1, Receipt{1, 2, 1}) }, Account{Duplicates: 1}},
		"normal duplicate":  {func(h *History) { h.receive(4, Receipt{0, 2, 2}) }, Account{Duplicates: 1}},
		"normal set back":   {func(h *History) { h.receive(4, Receipt{0, 2, 2}); h.SetBack = true }, Account{Restored: 1}},
		"direct set back":   {func(h *History) { h.receive(0, Receipt{0, 3, 0}); h.SetBack = true }, Account{Duplicates: 1}},
		"inversion":         {func(h *History) { r := h.Receipts[0]; r[0], r[2] = r[2], r[0] }, Account{Inversions: 1}},
		"lost":              {func(h *History) { h.lose(0, 0) }, Account{Unexplained: 1}},
		"lost by a member":  {func(h *History) { h.lose(2, 0) }, Account{Unexplained: 1}},
		"lost by all":       {func(h *History) { h.lose(1, 0); h.lose(2, 1) }, Account{Unexplained: 2}},
		"lost by readers":   {func(h *History) { h.lose(3, 0) }, Account{Unexplained: 1}},
		"crossed":           {func(h *History) { h.receive(1, Receipt{0, 0, 0}) }, Account{Crossed: 1}},
		"invented sender":   {func(h *History) { h.receive(1, Receipt{2, 0, 1}) }, Account{Invented: 1}},
		"invented number":   {func(h *History) { h.receive(1, Receipt{1, 3, 1}) }, Account{Invented: 1}},
		"invented message":  {func(h *History) { h.receive(1, Receipt{-1, -1, -1}) }, Account{Invented: 1}},
		"other destination": {func(h *History) { h.Receipts[0][0].Destination = 1 }, Account{Invented: 1, Unexplained: 1}},
		"not sent":          {func(h *History) { h.Sends[0][0].Outcome = NotSent; h.lose(0, 0) }, Account{}},
		"undead":            {func(h *History) { h.Sends[0][0].Outcome = NotSent }, Account{Undead: 1}},
		"maybe, received":   {func(h *History) { h.Sends[0][0].Outcome = MaybeSent }, Account{}},
		"maybe, missing":    {func(h *History) { h.Sends[0][0].Outcome = MaybeSent; h.lose(0, 0) }, Account{}},
		"maybe, twice":      {func(h *History) { h.Sends[0][3].Outcome = MaybeSent; h.receive(0, Receipt{0, 3, 0}) }, Account{Duplicates: 1}},
		"unclear":           {func(h *History) { h.Sends[0][0].Outcome = Unclear }, Account{Unclear: 1}},
		"baseless gap":      {func(h *History) { h.Gaps = []Gap{gap}; h.Faults = []Window{{41, 50}} }, Account{Baseless: 1}},
		"gap":               {func(h *History) { h.Gaps = []Gap{gap}; h.Faults = []Window{{40, 50}}; h.lose(2, 1) }, Account{ByGap: 1}},
		"gap at another time": {func(h *History) {
			h.Gaps = []Gap{{Process: 1, From: 26, To: 29}}
			h.Faults = []Window{{26, 50}}
			h.lose(2, 1)
		}, Account{Unexplained: 1}},
		"gap elsewhere":   {func(h *History) { h.Gaps = []Gap{gap}; h.Faults = []Window{{40, 50}}; h.lose(0, 2) }, Account{Unexplained: 1}},
		"gap for readers": {func(h *History) { h.Gaps = []Gap{gap}; h.Faults = []Window{{40, 50}}; h.lose(3, 0) }, Account{ByGap: 1}},
		"drop":            {func(h *History) { h.Drops = []Drop{{0, "full", "channel", 1}}; h.lose(0, 0) }, Account{ByDrop: 1}},
		"too few drops":   {func(h *History) { h.Drops = []Drop{{0, "full", "channel", 1}}; h.lose(0, 0); h.lose(0, 0) }, Account{ByDrop: 1, Unexplained: 1}},
		"drop elsewhere":  {func(h *History) { h.Drops = []Drop{{1, "full", "channel", 1}}; h.lose(0, 0) }, Account{Unexplained: 1}},
		"group's drop":    {func(h *History) { h.Drops = []Drop{{1, "late", "group", 1}}; h.lose(1, 0); h.lose(2, 1) }, Account{ByDrop: 2}},
		"group's, at one": {func(h *History) { h.Drops = []Drop{{1, "late", "group", 1}}; h.lose(1, 0) }, Account{Unexplained: 1}},
		"inbox full":      {func(h *History) { h.Drops = []Drop{{0, "full", "group", 1}}; h.lose(1, 0); h.lose(2, 1) }, Account{ByDrop: 2}},
		"drop by readers": {func(h *History) { h.Drops = []Drop{{1, "closed", "normal", 1}}; h.lose(3, 0) }, Account{ByDrop: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			h := goodHistory()
			test.spoil(h)
			got := h.Account()
			require.Equal(t, test.want.verdict(), got.verdict(), "findings: %v", got.Findings)
			require.Equal(t, got.Broken() > 0, len(got.Findings) > 0, "each broken promise is described: %v", got.Findings)
		})
	}
}

// verdict is what a case is about.
func (a Account) verdict() Account {
	a.Sends, a.NotSent, a.MaybeSent, a.Received, a.Gaps, a.Drops, a.Findings = 0, 0, 0, 0, 0, nil, nil
	return a
}

func (h *History) receive(channel int, r Receipt) {
	h.Receipts[channel] = append(h.Receipts[channel], r)
}

// lose removes the i-th message that a channel received.
func (h *History) lose(channel, i int) {
	h.Receipts[channel] = append(h.Receipts[channel][:i:i], h.Receipts[channel][i+1:]...)
}

func TestRate(t *testing.T) {
	at := func(seconds float64) int64 { return int64(seconds * 1e9) }
	h := &History{Sends: [][]Send{
		{{Begin: at(0.9)}, {Begin: at(1.1)}, {Begin: at(1.5)}, {Begin: at(2.5)}},
		{{Begin: at(1.4), End: at(9)}, {Begin: at(4.1), Outcome: NotSent}, {Begin: at(5)}},
	}}
	require.InDelta(t, 4/1.5, h.Rate([]Window{{at(1), at(2)}, {at(4), at(4.5)}}), 1e-9, "four sends began in 1.5 s")
}
