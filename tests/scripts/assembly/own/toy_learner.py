"""A learner that trains any encoder of pictures to tell how bright they are."""

from torch import nn

from embodia.perception import SelfSupervised


class Brightness(SelfSupervised):
    """Regresses the mean of a picture.

    Args:
        encoder: is trained and kept.
        hidden: width of the head's hidden layer.
    """

    def __init__(self, encoder, hidden: int = 8):
        super().__init__(encoder.space)
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(encoder.dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def loss(self, batch):
        images, _ = self.encoder.images(batch["obs"])
        error = self.head(self.encoder.summary(images))[:, 0] - images.flatten(1).mean(1)
        return error.square().mean(), {"loss": error.square().mean().detach()}
