// Which lines a plot shows, from the back to the front: proposed, sent, compared, corrected.

// Across the episode each result stands for the first step of its chunk: what the robot did next.
export function episodeLines(frames, compared) {
  const first = (choose) => frames.map((frame) => choose(frame)?.[0] ?? null);
  return drawn(
    first((frame) => frame.proposed),
    first((frame) => frame.sent),
    compared ? first((frame) => other(frame, compared)) : [],
    // One corrected result alone would be a point: it is drawn from its neighbour.
    joined(first((frame) => frame.corrected), first((frame) => frame.sent)),
  );
}

export function chunkLines(frame, compared) {
  return drawn(frame.proposed ?? [], frame.sent, other(frame, compared) ?? [], frame.corrected ?? []);
}

function drawn(proposed, sent, compared, corrected) {
  return [
    { token: "--plot-proposed", dash: [4, 3], values: proposed },
    { token: "--plot-compared", values: compared },
    { token: "--plot-corrected", width: 2, values: corrected },
    { token: "--plot-sent", width: 2, values: sent },
  ];
}

function other(frame, model) {
  return frame.others.find((candidate) => candidate.model === model)?.actions;
}

function joined(corrected, sent) {
  return corrected.map((step, index) => step ?? (corrected[index + 1] ? sent[index] : null));
}
