// Which lines a plot shows, from the back to the front: proposed, compared, sent, corrected.

// The sent line's place among them.
export const SENT = 2;

// Across the episode each result stands for the first step of its chunk: what the robot did next.
export function episodeLines(frames, compared) {
  const first = (choose) => frames.map((frame) => choose(frame)?.[0] ?? null);
  return drawn(
    first((frame) => frame.proposed),
    first((frame) => frame.sent),
    compared ? first((frame) => other(frame, compared)) : [],
    first((frame) => frame.corrected),
    // Corrections stand alone: a line between them would say what nobody said.
    true,
  );
}

export function chunkLines(frame, compared) {
  return drawn(frame.proposed ?? [], frame.sent, other(frame, compared) ?? [], frame.corrected ?? []);
}

// What the other version would have done, alone, for its own plot beside the first.
export function episodeLinesOf(frames, model) {
  return [{ token: "--plot-compared", width: 2, values: frames.map((frame) => other(frame, model)?.[0] ?? null) }];
}

export function chunkLinesOf(frame, model) {
  return [{ token: "--plot-compared", width: 2, values: other(frame, model) ?? [] }];
}

function drawn(proposed, sent, compared, corrected, dots = false) {
  return [
    { token: "--plot-proposed", dash: [4, 3], values: proposed },
    { token: "--plot-compared", values: compared },
    { token: "--plot-sent", width: 2, values: sent },
    { token: "--plot-corrected", width: 2, values: corrected, dots },
  ];
}

function other(frame, model) {
  return frame.others.find((candidate) => candidate.model === model)?.actions;
}
